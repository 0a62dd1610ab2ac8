// Deterministic damage to packages: to their bytes, and to the fields of their plans.
#ifndef TIERCAST_TESTS_FUZZ_MUTATE_H_
#define TIERCAST_TESTS_FUZZ_MUTATE_H_

#include <stdint.h>

#include <random>
#include <vector>

#include "tiercast/kernel.h"

namespace tiercast_test {

using Random = std::mt19937_64;

// A whole number in [0, limit).
inline uint64_t below(Random* random, uint64_t limit) { return (*random)() % limit; }

// Flips, overwrites, cuts, grows or moves bytes of the file; checksums are left as they are.
void mutate_bytes(Random* random, std::vector<uint8_t>* file);

// `seed` with 1 to 4 fields of its plan changed (dims, strides, offsets, places, params, operand numbers, names of `library`, sizes, ...)
// or weights flipped, packed anew with right checksums. `seed` must be a valid package.
std::vector<uint8_t> mutate_plan(Random* random, const std::vector<uint8_t>& seed, const tc_library& library);

}  // namespace tiercast_test
#endif
