#include "cores.h"

#include <stdio.h>

namespace tiercast {
namespace {

// The number in <folder>/cpu<core>/<file>, 0 when there is none.
uint32_t read_number(const char* folder, int32_t core, const char* name) {
  if (folder == nullptr) return 0;
  char path[160];
  snprintf(path, sizeof(path), "%s/cpu%d/%s", folder, core, name);
  FILE* file = fopen(path, "r");
  unsigned number = 0;
  if (file == nullptr) return 0;
  if (fscanf(file, "%u", &number) != 1) number = 0;
  fclose(file);
  return number;
}

// The MIDR of `core`, 0 where the kernel does not show it.
uint64_t read_midr(const char* folder, int32_t core) {
  char path[160];
  snprintf(path, sizeof(path), "%s/cpu%d/regs/identification/midr_el1", folder, core);
  FILE* file = fopen(path, "r");
  unsigned long long midr = 0;
  if (file == nullptr) return 0;
  if (fscanf(file, "%llx", &midr) != 1) midr = 0;
  fclose(file);
  return midr;
}

}  // namespace

bool is_in_order(uint64_t midr) {
  if (((midr >> 24) & 0xff) != 0x41) return false;  // ARM
  switch ((midr >> 4) & 0xfff) {
    case 0xd02:  // Cortex-A34
    case 0xd03:  // A53
    case 0xd04:  // A35
    case 0xd05:  // A55
    case 0xd46:  // A510
    case 0xd80:  // A520
    case 0xd8f:  // A320
      return true;
    default:
      return false;
  }
}

Order read_order(const char* folder) {
  cpu_set_t usable;
  if (sched_getaffinity(0, sizeof(usable), &usable) != 0) return Order::unknown;
  bool in_order = false, out_of_order = false;
  for (int32_t core = 0; core < CPU_SETSIZE; ++core) {
    if (!CPU_ISSET(core, &usable)) continue;
    const uint64_t midr = read_midr(folder, core);
    if (midr == 0) return Order::unknown;
    (is_in_order(midr) ? in_order : out_of_order) = true;
  }
  if (in_order && out_of_order) return Order::mixed;
  return in_order ? Order::in_order : Order::out_of_order;
}

int32_t read_cores(const char* folder, Core* cores) {
  cpu_set_t usable;
  if (sched_getaffinity(0, sizeof(usable), &usable) != 0) return 0;
  int32_t count = 0;
  bool have_capacity = true;
  for (int32_t core = 0; core < CPU_SETSIZE && count < kMaxCores; ++core) {
    if (!CPU_ISSET(core, &usable)) continue;
    cores[count] = {core, read_number(folder, core, "cpu_capacity")};
    have_capacity = have_capacity && cores[count].speed != 0;
    ++count;
  }
  for (int32_t i = 0; i < count && !have_capacity; ++i) cores[i].speed = read_number(folder, cores[i].number, "cpufreq/cpuinfo_max_freq");
  return count;
}

int32_t choose_cores(const Core* cores, int32_t count, tc_cores choice, cpu_set_t* chosen) {
  uint32_t slowest = UINT32_MAX, fastest = 0;
  for (int32_t i = 0; i < count; ++i) {
    slowest = cores[i].speed < slowest ? cores[i].speed : slowest;
    fastest = cores[i].speed > fastest ? cores[i].speed : fastest;
  }
  const bool alike = slowest == 0 || slowest == fastest || choice == TC_CORES_ALL;
  CPU_ZERO(chosen);
  for (int32_t i = 0; i < count; ++i)
    if (alike || (cores[i].speed == slowest) == (choice == TC_CORES_LITTLE)) CPU_SET(cores[i].number, chosen);
  return CPU_COUNT(chosen);
}

}  // namespace tiercast
