// Big and little cores: which ones a choice means, and what is read of this machine (or of what the emulator shows of one).
#include "cores.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <initializer_list>
#include <string>

#include "check.h"

using tiercast::choose_cores;
using tiercast::Core;
using tiercast::is_in_order;
using tiercast::Order;
using tiercast::read_cores;
using tiercast::read_order;

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

constexpr uint64_t kA53 = 0x410fd034, kA55 = 0x412fd050, kA76 = 0x414fd0b1, kKryo = 0x51af8014;

void test_designs() {
  CHECK(is_in_order(kA53) && is_in_order(kA55) && is_in_order(0x410fd460));
  CHECK(!is_in_order(kA76) && !is_in_order(kKryo));
  CHECK(!is_in_order(0x510fd034));  // A53's number, but of another maker
}

// Lays main ID registers under `folder` for the cores that this thread may run on, `even` and `odd` by turns.
void lay_registers(const std::string& folder, uint64_t even, uint64_t odd) {
  Core cores[tiercast::kMaxCores];
  const int32_t count = read_cores(nullptr, cores);
  for (int32_t i = 0; i < count; ++i) {
    std::string path = folder;
    for (const std::string& part : {"/cpu" + std::to_string(cores[i].number), std::string("/regs"), std::string("/identification")}) {
      path += part;
      mkdir(path.c_str(), 0700);
    }
    FILE* file = fopen((path + "/midr_el1").c_str(), "w");
    CHECK(file != nullptr);
    fprintf(file, "0x%016llx\n", static_cast<unsigned long long>(i % 2 == 0 ? even : odd));
    fclose(file);
  }
}

void test_order() {
  CHECK(read_order("/nonexistent") == Order::unknown);
  char folder[] = "/tmp/cores_test.XXXXXX";
  CHECK(mkdtemp(folder) != nullptr);
  Core cores[tiercast::kMaxCores];
  lay_registers(folder, kA53, kA55);
  CHECK(read_order(folder) == Order::in_order);
  lay_registers(folder, kA76, kKryo);
  CHECK(read_order(folder) == Order::out_of_order);
  lay_registers(folder, kA53, kA76);
  CHECK(read_order(folder) == (read_cores(nullptr, cores) > 1 ? Order::mixed : Order::in_order));
  lay_registers(folder, kA76, 0);  // some core does not tell
  CHECK(read_order(folder) == (read_cores(nullptr, cores) > 1 ? Order::unknown : Order::out_of_order));
}

}  // namespace

int main() {
  test_choices();
  test_unknown_machine();
  test_this_machine();
  test_designs();
  test_order();
  return test_result();
}
