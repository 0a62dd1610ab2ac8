// fuzz_package [--seeds DIR] [--count N] [--seed S] [--case K] [--max-seed-bytes B]: mutates packages (those in DIR, and one built here),
// opens every one and runs those that are accepted. Deterministic: the case that a sanitizer stopped at is printed, and --case repeats it
// alone.
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <string>
#include <vector>

#if defined(__SANITIZE_ADDRESS__) || defined(TC_ADDRESS_SANITIZER)
#include <sanitizer/common_interface_defs.h>
#endif

#include "fuzz_mutate.h"
#include "fuzz_target.h"
#include "package_file.h"

using tiercast_test::below;
using tiercast_test::FuzzOutcome;
using tiercast_test::Random;

namespace {

struct Seed {
  std::string name;
  std::vector<uint8_t> bytes;
};

// What is being tried, for a sanitizer's last words.
char current_case[256];

#if defined(__SANITIZE_ADDRESS__) || defined(TC_ADDRESS_SANITIZER)
void tell_case() { fprintf(stderr, "stopped at %s; repeat it with --case\n", current_case); }
#endif

struct Settings {
  std::string seeds_dir;
  uint64_t count = 10000, seed = 1, max_seed_bytes = 2 << 20;
  int64_t only_case = -1;
};

bool parse(int count, char** words, Settings* settings) {
  for (int i = 1; i + 1 < count; i += 2) {
    const std::string option = words[i];
    const uint64_t number = strtoull(words[i + 1], nullptr, 10);
    if (option == "--seeds")
      settings->seeds_dir = words[i + 1];
    else if (option == "--count")
      settings->count = number;
    else if (option == "--seed")
      settings->seed = number;
    else if (option == "--case")
      settings->only_case = static_cast<int64_t>(number);
    else if (option == "--max-seed-bytes")
      settings->max_seed_bytes = number;
    else
      return false;
  }
  return count % 2 == 1;
}

std::vector<uint8_t> read_bytes(const std::string& path) {
  std::vector<uint8_t> bytes;
  FILE* file = fopen(path.c_str(), "rb");
  if (file == nullptr) return bytes;
  uint8_t block[65536];
  for (size_t got; (got = fread(block, 1, sizeof(block), file)) != 0;) bytes.insert(bytes.end(), block, block + got);
  fclose(file);
  return bytes;
}

// Every *.tcpkg of the folder that is not too large, in order of names.
void read_seeds(const Settings& settings, std::vector<Seed>* seeds) {
  std::vector<std::string> names;
  DIR* dir = settings.seeds_dir.empty() ? nullptr : opendir(settings.seeds_dir.c_str());
  for (const dirent* entry; dir != nullptr && (entry = readdir(dir)) != nullptr;) {
    const std::string name = entry->d_name;
    if (name.size() > 6 && name.compare(name.size() - 6, 6, ".tcpkg") == 0) names.push_back(name);
  }
  if (dir != nullptr) closedir(dir);
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    Seed seed = {name, read_bytes(settings.seeds_dir + "/" + name)};
    if (seed.bytes.size() <= settings.max_seed_bytes) seeds->push_back(std::move(seed));
  }
}

// Case `number` of the run: which seed and which damage follow from it alone.
std::vector<uint8_t> make_case(const Settings& settings, const std::vector<Seed>& seeds, uint64_t number) {
  Random random(settings.seed * 1000003 + number);
  const Seed& seed = seeds[number % seeds.size()];
  if (below(&random, 3) != 0) return tiercast_test::mutate_plan(&random, seed.bytes, *tiercast_test::fuzz_library());
  std::vector<uint8_t> file = seed.bytes;
  tiercast_test::mutate_bytes(&random, &file);
  if (below(&random, 8) != 0) tiercast_test::fix_checksums(&file);
  return file;
}

}  // namespace

int main(int count, char** words) {
  Settings settings;
  if (!parse(count, words, &settings)) {
    fprintf(stderr, "usage: fuzz_package [--seeds DIR] [--count N] [--seed S] [--case K] [--max-seed-bytes B]\n");
    return 2;
  }
#if defined(__SANITIZE_ADDRESS__) || defined(TC_ADDRESS_SANITIZER)
  __sanitizer_set_death_callback(tell_case);
#endif
  const tiercast_test::SampleModel model = tiercast_test::sample_model();
  std::vector<Seed> seeds = {{"sample", tiercast_test::make_file(model.plan, model.weights)},
                             {"buckets", tiercast_test::sample_buckets({6, 20, 12})}};
  read_seeds(settings, &seeds);
  for (const Seed& seed : seeds) {
    const FuzzOutcome outcome = tiercast_test::fuzz_package(seed.bytes.data(), seed.bytes.size());
    if (!outcome.ran && !outcome.slow) {
      fprintf(stderr, "seed %s does not run: %s\n", seed.name.c_str(), outcome.message);
      return 1;
    }
  }
  uint64_t refused[8] = {}, ran = 0, slow = 0, opened = 0;
  const uint64_t begin = settings.only_case >= 0 ? static_cast<uint64_t>(settings.only_case) : 0;
  const uint64_t end = settings.only_case >= 0 ? begin + 1 : settings.count;
  for (uint64_t number = begin; number < end; ++number) {
    const std::vector<uint8_t> file = make_case(settings, seeds, number);
    snprintf(current_case, sizeof(current_case), "case %llu of seed %llu from %s", static_cast<unsigned long long>(number),
             static_cast<unsigned long long>(settings.seed), seeds[number % seeds.size()].name.c_str());
    const FuzzOutcome outcome = tiercast_test::fuzz_package(file.data(), file.size());
    if (settings.only_case >= 0) fprintf(stderr, "%s %s\n", outcome.ran ? "ran" : outcome.slow ? "slow" : "refused", outcome.message);
    opened += outcome.status == TC_OK ? 1 : 0;
    ran += outcome.ran ? 1 : 0;
    slow += outcome.slow ? 1 : 0;
    ++refused[outcome.status];
    if (outcome.status != TC_OK && outcome.message[0] == 0) {
      fprintf(stderr, "%s: refused without a word\n", current_case);
      return 1;
    }
  }
  const auto ull = [](uint64_t value) { return static_cast<unsigned long long>(value); };
  printf(
      "{\"cases\": %llu, \"seeds\": %zu, \"opened\": %llu, \"ran\": %llu, \"slow\": %llu, \"refused_package\": %llu, \"refused_kernel\": "
      "%llu, "
      "\"refused_memory\": %llu}\n",
      ull(end - begin), seeds.size(), ull(opened), ull(ran), ull(slow), ull(refused[TC_ERROR_PACKAGE]), ull(refused[TC_ERROR_KERNEL]),
      ull(refused[TC_ERROR_MEMORY]));
  return 0;
}
