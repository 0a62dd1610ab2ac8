// IEEE half precision in integer arithmetic, so that no target needs hardware or library conversions.
#ifndef TIERCAST_CAST_HALF_H_
#define TIERCAST_CAST_HALF_H_

#include <stdint.h>
#include <string.h>

namespace {

inline uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

inline float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

inline float half_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16, exponent = half >> 10 & 31u, fraction = half & 0x3ffu;
  if (exponent == 31) return float_of(sign | 0x7f800000u | fraction << 13);
  if (exponent == 0) {  // zero or denormal: fraction * 2^-24
    const float size = static_cast<float>(fraction) * (1.0f / 16777216.0f);
    return float_of(sign | bits_of(size));
  }
  return float_of(sign | (exponent + 112) << 23 | fraction << 13);
}

// Rounds to nearest even; beyond 65504 (+ half a step) infinity.
inline uint16_t float_to_half(float x) {
  const uint32_t sign = bits_of(x) >> 16 & 0x8000u, size = bits_of(x) & 0x7fffffffu;
  if (size > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
  if (size >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
  if (size < 0x38800000u) {  // below 2^-14: adding 0.5 leaves the rounded denormal in the low bits
    return static_cast<uint16_t>(sign | (bits_of(float_of(size) + 0.5f) - 0x3f000000u));
  }
  return static_cast<uint16_t>(sign | (size - 0x38000000u + 0xfffu + (size >> 13 & 1u)) >> 13);
}

// Rounds to nearest even; a NaN stays one.
inline uint16_t float_to_bfloat(float x) {
  const uint32_t bits = bits_of(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>(bits >> 16 | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

}  // namespace

#endif
