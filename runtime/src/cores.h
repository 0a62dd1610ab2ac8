// Which cores a session's threads run on: all, the fast ones, or the slow ones.
#ifndef TIERCAST_SRC_CORES_H_
#define TIERCAST_SRC_CORES_H_

#include <sched.h>
#include <stdint.h>

#include "tiercast/tiercast.h"

namespace tiercast {

// A core's number and its speed in any unit that all cores of the machine share; 0: unknown.
struct Core {
  int32_t number;
  uint32_t speed;
};

enum { kMaxCores = 256 };

// How the usable cores of a machine issue instructions, as far as they tell.
enum class Order { unknown, in_order, mixed, out_of_order };

constexpr const char* kCoresFolder = "/sys/devices/system/cpu";

// Whether a core of this AArch64 main ID register (MIDR_EL1) is one of ARM's in-order designs.
bool is_in_order(uint64_t midr);

// Order of the cores that the calling thread may run on, by their registers under `folder` (kCoresFolder); unknown when one has none.
Order read_order(const char* folder);

// The cores that the calling thread may run on, with the kernel's opinion of their speed: cpu_capacity, else the highest frequency, under
// `folder` (kCoresFolder; NULL: speeds are not read). Returns how many of `cores` (room for kMaxCores) were filled.
int32_t read_cores(const char* folder, Core* cores);

// Puts those that `choice` means into *chosen: TC_CORES_LITTLE the slowest, TC_CORES_BIG all that are faster than these. On a machine whose
// cores are alike, or of unknown speed, both mean all. Returns how many.
int32_t choose_cores(const Core* cores, int32_t count, tc_cores choice, cpu_set_t* chosen);

}  // namespace tiercast
#endif
