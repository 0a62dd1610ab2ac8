// The end of NEON's dot products: scale, round and store. D and d_sums have been defined.
#ifndef TIERCAST_SIMD_DOT_STORE_NEON_H_
#define TIERCAST_SIMD_DOT_STORE_NEON_H_

namespace {

// The nearest integers (halves to even) to x within low..high, by adding what leaves no bits for fractions.
TC_INLINE int32x4_t d_round(float32x4_t x, float low, float high) {
  const float32x4_t magic = vdupq_n_f32(12582912.0f);  // 1.5 * 2^23
  const float32x4_t kept = vminq_f32(vmaxq_f32(x, vdupq_n_f32(low)), vdupq_n_f32(high));
  return vsubq_s32(vreinterpretq_s32_f32(vaddq_f32(kept, magic)), vreinterpretq_s32_f32(magic));
}

// The first `real` columns of a row of NV vectors.
template <int NV>
TC_INLINE void d_store_row(const tc_view& y, int64_t at, const D (&sums)[NV], const float* scale, const Limits& to, int64_t real) {
  const float low = (float)(to.low - to.zero), high = (float)(to.high - to.zero);
#pragma unroll
  for (int j = 0; j < NV; ++j) {
    const int64_t left = real - j * DOT_LANES, n = left < DOT_LANES ? left : DOT_LANES;
    if (n <= 0) return;
    const int32x4_t whole = d_sums(sums[j]);
    const float32x4_t scaled = vmulq_f32(vcvtq_f32_s32(whole), vld1q_f32(scale + j * DOT_LANES));
    if (y.dtype == TC_S8) {
      const int32x4_t rounded_ones = vaddq_s32(d_round(scaled, low, high), vdupq_n_s32(to.zero));
      const int16x4_t half = vmovn_s32(rounded_ones);
      const int8x8_t bytes = vmovn_s16(vcombine_s16(half, half));
      memcpy((int8_t*)y.data + at + j * DOT_LANES, &bytes, (size_t)n);
    } else if (y.dtype == TC_F32) {
      memcpy((float*)y.data + at + j * DOT_LANES, &scaled, (size_t)n * 4);
    } else {
      memcpy((int32_t*)y.data + at + j * DOT_LANES, &whole, (size_t)n * 4);
    }
  }
}

// The same of MR rows, `pitch` elements apart.
template <int MR, int NV>
TC_INLINE void d_store(const tc_view& y, int64_t at, int64_t pitch, const D (&sums)[MR][NV], const float* scale, const Limits& to,
                       int64_t real) {
#pragma unroll
  for (int i = 0; i < MR; ++i) d_store_row<NV>(y, at + i * pitch, sums[i], scale, to, real);
}

}  // namespace

#endif
