// The vector dialect over f16 in memory on any AArch64: 4 lanes, computed in f32. Loads widen and stores narrow; what lies in scratch is
// f32 as ever. For what needs f32's range or precision, or is bound by memory; neonfp16.h computes in f16.
#ifndef TIERCAST_SIMD_NEONHALF_H_
#define TIERCAST_SIMD_NEONHALF_H_

#include "simd/neon.h"

namespace {

TC_INLINE V v_load(const E* p) { return vcvt_f32_f16(vld1_f16(p)); }
TC_INLINE void v_store(E* p, V v) { vst1_f16(p, vcvt_f16_f32(v)); }
TC_INLINE V v_load_n(const E* p, int64_t n) {
  if (n >= VL) return v_load(p);
  float lanes[VL] = {};
  for (int64_t i = 0; i < n; ++i) lanes[i] = p[i];
  return vld1q_f32(lanes);
}
TC_INLINE void v_store_n(E* p, V v, int64_t n) {
  if (n >= VL) {
    v_store(p, v);
    return;
  }
  float lanes[VL];
  vst1q_f32(lanes, v);
  for (int64_t i = 0; i < n; ++i) p[i] = (__fp16)lanes[i];
}

}  // namespace

#endif
