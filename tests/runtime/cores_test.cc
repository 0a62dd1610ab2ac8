// Big and little cores: which ones a choice means, and what is read of this machine (or of what the emulator shows of one).
#include "cores.h"

#include <stdio.h>
#include <stdlib.h>

#include <initializer_list>
#include <string>

#include "check.h"

using tiercast::choose_cores;
using tiercast::Core;
using tiercast::read_cores;

namespace {

// The cores of `choice` as "0 3", of cores 0.. with these speeds.
std::string chosen(std::initializer_list<uint32_t> speeds, tc_cores choice) {
  Core cores[tiercast::kMaxCores];
  int32_t count = 0;
  for (uint32_t speed : speeds) cores[count] = {count, speed}, ++count;
  cpu_set_t set;
  const int32_t members = choose_cores(cores, count, choice, &set);
  CHECK(members == CPU_COUNT(&set));
  std::string text;
  for (int32_t core = 0; core < count; ++core)
    if (CPU_ISSET(core, &set)) text += (text.empty() ? "" : " ") + std::to_string(core);
  return text;
}

void test_choices() {
  CHECK(chosen({512, 512, 1024, 1024}, TC_CORES_BIG) == "2 3");
  CHECK(chosen({512, 512, 1024, 1024}, TC_CORES_LITTLE) == "0 1");
  CHECK(chosen({512, 512, 1024, 1024}, TC_CORES_ALL) == "0 1 2 3");
  CHECK(chosen({300, 300, 800, 1024}, TC_CORES_BIG) == "2 3");  // a third cluster is big as well
  CHECK(chosen({300, 300, 800, 1024}, TC_CORES_LITTLE) == "0 1");
  for (tc_cores choice : {TC_CORES_BIG, TC_CORES_LITTLE}) {
    CHECK(chosen({7, 7, 7}, choice) == "0 1 2");
    CHECK(chosen({0, 1024}, choice) == "0 1");  // unknown
    CHECK(chosen({5}, choice) == "0");
  }
}

// Without /sys nothing is known of the speeds, but the cores are there.
void test_unknown_machine() {
  Core cores[tiercast::kMaxCores];
  const int32_t count = read_cores("/nonexistent", cores);
  CHECK(count >= 1);
  for (int32_t i = 0; i < count; ++i) CHECK(cores[i].speed == 0);
}

// TIERCAST_EXPECTED_SPEEDS says what the test's caller laid under /sys, e.g. "0=446 1=1024".
void test_this_machine() {
  Core cores[tiercast::kMaxCores];
  const int32_t count = read_cores("/sys/devices/system/cpu", cores);
  std::string found;
  for (int32_t i = 0; i < count; ++i) found += (i == 0 ? "" : " ") + std::to_string(cores[i].number) + "=" + std::to_string(cores[i].speed);
  const char* expected = getenv("TIERCAST_EXPECTED_SPEEDS");
  if (expected != nullptr && found != expected) fprintf(stderr, "found %s, expected %s\n", found.c_str(), expected);
  CHECK(expected == nullptr || found == expected);
}

}  // namespace

int main() {
  test_choices();
  test_unknown_machine();
  test_this_machine();
  return test_result();
}
