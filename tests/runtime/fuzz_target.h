// What one fuzzed package goes through.
#ifndef TIERCAST_TESTS_FUZZ_TARGET_H_
#define TIERCAST_TESTS_FUZZ_TARGET_H_

#include <stddef.h>
#include <stdint.h>

#include "tiercast/tiercast.h"

namespace tiercast_test {

struct FuzzOutcome {
  tc_status status = TC_OK;  // of opening it
  bool ran = false;          // to the end
  bool slow = false;         // stopped after kSlowSeconds
  char message[TC_ERROR_MESSAGE_BYTES] = {};
};

constexpr unsigned kSlowSeconds = 2;

// The kernels of this build together with those of the tests.
const tc_library* fuzz_library();

// Opens the bytes as a package and, when they are accepted, runs it on exactly sized buffers. Whatever goes wrong inside is for the
// sanitizers to see. A run that takes too long is left behind (a hostile plan may be slow).
FuzzOutcome fuzz_package(const uint8_t* bytes, size_t size);

}  // namespace tiercast_test
#endif
