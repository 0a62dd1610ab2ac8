// What a rendered row ends with: its entry in the kernel table.
#ifndef TIERCAST_SIMD_KERNEL_ROW_H_
#define TIERCAST_SIMD_KERNEL_ROW_H_

#include "simd/element.h"
#include "tiercast/kernel.h"

// Defines `const tc_kernel NAME` from the `work` and `run` of this file. CHECK is the op's check function (its own file, built once). A
// fifth argument, TC_IN_PLACE, says that an output may be exactly an input's view.
#define TC_KERNEL(NAME, OP, NEEDS, CHECK, ...)                                    \
  extern "C" {                                                                    \
  const char* CHECK(const tc_call* call);                                         \
  extern const tc_kernel NAME;                                                    \
  const tc_kernel NAME = {#NAME, OP, (NEEDS), CHECK, work, run, (0 __VA_ARGS__)}; \
  }
#define TC_IN_PLACE | TC_KERNEL_IN_PLACE

#define TC_INLINE inline __attribute__((always_inline))
#define TC_LAMBDA_INLINE __attribute__((always_inline))
#define TC_NOINLINE __attribute__((noinline))

#endif
