// E, the element type of a row's real operands, and TC_E, its tc_dtype. Rows and checks over f16 are rendered with TC_ELEMENT_F16.
#ifndef TIERCAST_SIMD_ELEMENT_H_
#define TIERCAST_SIMD_ELEMENT_H_

#include "tiercast/kernel.h"
#if defined(TC_ELEMENT_F16) && !defined(__aarch64__)
#include "cast/half.h"
#endif

namespace {

#if !defined(TC_ELEMENT_F16)
typedef float E;
enum { TC_E = TC_F32 };
#else
enum { TC_E = TC_F16 };
#if defined(__aarch64__)
typedef __fp16 E;  // every AArch64 converts it; arithmetic on single elements is in float
#else
// The same in integer arithmetic.
struct E {
  uint16_t bits;
  E() = default;
  E& operator=(float x) {
    bits = float_to_half(x);
    return *this;
  }
  operator float() const { return half_to_float(bits); }
  E& operator+=(float x) { return *this = *this + x; }
  E& operator*=(float x) { return *this = *this * x; }
};
#endif
#endif

}  // namespace

#endif
