// The GEMM micro-kernel, shared by every op that multiplies: C[mr][n] = A[mr][K] * B[K][n] + bias (+ residual), clamped.
//
// A's rows are read where they lie: row r of a tile starts at a + r * lda, and its K elements come in `outer` x `inner` runs of `run`
// contiguous elements. One run is a plain matrix; KH runs of KW*C elements are a convolution read from the image itself.
// Include one ISA's header and define TC_MR (rows of a tile) and TC_NR (columns) first.
#ifndef TIERCAST_SIMD_GEMM_TILE_H_
#define TIERCAST_SIMD_GEMM_TILE_H_

#include <math.h>
#include <stdint.h>

#include "simd/kernel_row.h"
#include "tc_enums.h"

namespace {

#if defined(__arm__)
enum { MR = 4 };  // ARMv7 has half of AArch64's registers
#else
enum { MR = TC_MR };
#endif
enum { NR = TC_NR };
#if defined(__aarch64__) && !defined(TC_ELEMENT_F16) && TC_MR == 12
#define TC_PACKED  // whole tiles are packed: simd/gemm_packed.h
#endif
#if defined(__AVX2__) || defined(TC_PACKED)
#define TC_ACTIVATES  // tiles apply hard swish and PReLU
#endif
// In-order cores run what the compiler schedules: it must put loads well before their use. Out-of-order ones do not mind.
#if defined(__aarch64__) && !defined(TC_OUT_OF_ORDER)
#define TC_SCHEDULE __attribute__((target("tune=cortex-a55")))
#else
#define TC_SCHEDULE
#endif

struct Rows {
  const E* a;
  int64_t lda;
  int64_t outer, outer_stride;
  int64_t inner, inner_stride;
  int64_t run;
  const E* packed;  // the same as simd/gemm_packed.h has it, or NULL
};

inline Rows plain_rows(const E* a, int64_t lda, int64_t k) { return Rows{a, lda, 1, 0, 1, 0, k, nullptr}; }

// One tile's work on one panel. `residual` is added before the clamp; NULL when there is none.
struct Slice {
  const E* b;
  int64_t ldb;
  const E* bias;
  const E* residual;
  int64_t ldr;
  E* c;
  int64_t ldc;
  float lo, hi;
  bool pairs;          // b is packed in pairs of k, see gemm_pairs.h
  int32_t activation;  // hard_swish or prelu, applied while the sums are in registers; else none, and the sums are clamped
  const E* slope;      // for prelu
};

// A tile of output rows: its A, its place in C and in the residual (NULL when there is none).
struct Tile {
  Rows rows;
  int mr;
  E* c;
  const E* residual;
};

#if defined(__ARM_NEON)
template <int LANE>
TC_INLINE V fma_lane(V acc, V b, V a) {
#if defined(TC_ELEMENT_F16)
  return vfmaq_laneq_f16(acc, b, a, LANE);
#elif defined(__aarch64__)
  return vfmaq_laneq_f32(acc, b, a, LANE);
#else
  // ARMv7 multiplies by a lane without fusing; clang contracts neither, so broadcast and fuse.
  const float32x2_t half = LANE < 2 ? vget_low_f32(a) : vget_high_f32(a);
  return vfmaq_f32(acc, b, vdupq_lane_f32(half, LANE & 1));
#endif
}

template <int LANE, int ROWS, int NV>
TC_INLINE void step_lane(V (&acc)[ROWS][NV], const V (&a)[ROWS], const E* b) {
  V bv[NV];
  for (int v = 0; v < NV; ++v) bv[v] = v_load(b + v * VL);
  for (int r = 0; r < ROWS; ++r) {
    for (int v = 0; v < NV; ++v) acc[r][v] = fma_lane<LANE>(acc[r][v], bv[v], a[r]);
  }
}

// A is loaded VL k at a time and multiplied by element.
template <class L, int ROWS, int NV, int SETS>
TC_INLINE const E* accumulate(V (&acc)[SETS][ROWS][NV], const E* a, int64_t lda, int64_t run, const E* b, int64_t ldb) {
  const E* row[ROWS];
  for (int r = 0; r < ROWS; ++r) {
    row[r] = a + r * lda;
    __asm__("" : "+r"(row[r]));  // else the compiler works all of them out from one, again and again
  }
  int64_t k = 0;
  for (; k + VL <= run; k += VL) {
    V av[ROWS];
    for (int r = 0; r < ROWS; ++r) av[r] = v_load(row[r] + k);
    step_lane<0>(acc[0], av, b);
    step_lane<1>(acc[1 % SETS], av, b + ldb);
    step_lane<2>(acc[2 % SETS], av, b + 2 * ldb);
    step_lane<3>(acc[3 % SETS], av, b + 3 * ldb);
#if defined(TC_ELEMENT_F16)
    step_lane<4>(acc[0], av, b + 4 * ldb);
    step_lane<5>(acc[1 % SETS], av, b + 5 * ldb);
    step_lane<6>(acc[2 % SETS], av, b + 6 * ldb);
    step_lane<7>(acc[3 % SETS], av, b + 7 * ldb);
#endif
    b += VL * ldb;
  }
#if defined(TC_ELEMENT_F16)
  if (k + 4 <= run) {
    V av[ROWS];
    for (int r = 0; r < ROWS; ++r) av[r] = vcombine_f16(vld1_f16(a + r * lda + k), vdup_n_f16(0.0f));
    step_lane<0>(acc[0], av, b);
    step_lane<1>(acc[1 % SETS], av, b + ldb);
    step_lane<2>(acc[2 % SETS], av, b + 2 * ldb);
    step_lane<3>(acc[3 % SETS], av, b + 3 * ldb);
    b += 4 * ldb;
    k += 4;
  }
#endif
#pragma clang loop unroll(disable)
  for (; k < run; ++k) {
    V bv[NV];
    for (int v = 0; v < NV; ++v) bv[v] = v_load(b + v * VL);
    for (int r = 0; r < ROWS; ++r) {
      for (int v = 0; v < NV; ++v) acc[0][r][v] = v_fma(bv[v], v_set1(row[r][k]), acc[0][r][v]);
    }
    b += ldb;
  }
  return b;
}
#else
// A is broadcast from memory. Three rows share a pointer (x86 addresses base, base + lda and base + 2 lda), so none spills.
template <class L, int ROWS, int NV, int SETS>
TC_INLINE const E* accumulate(typename L::T (&acc)[SETS][ROWS][NV], const E* a, int64_t lda, int64_t run, const E* b, int64_t ldb) {
  enum { GROUPS = (ROWS + 2) / 3 };
  const E* p[GROUPS];
  for (int g = 0; g < GROUPS; ++g) p[g] = a + 3 * g * lda;
  const auto step = [&](int set) TC_LAMBDA_INLINE {
    typename L::T bv[NV];
    for (int v = 0; v < NV; ++v) bv[v] = L::load(b + v * L::N);
#pragma clang loop unroll(full)
    for (int r = 0; r < ROWS; ++r) {
      const typename L::T x = L::set1(p[r / 3][(r % 3) * lda]);
      for (int v = 0; v < NV; ++v) acc[set][r][v] = L::fma(x, bv[v], acc[set][r][v]);
    }
    for (int g = 0; g < GROUPS; ++g) ++p[g];
    b += ldb;
  };
  int64_t k = 0;
  for (; k + SETS <= run; k += SETS) {
#pragma clang loop unroll(full)
    for (int set = 0; set < SETS; ++set) step(set);
  }
  for (; k < run; ++k) step(0);
  return b;
}
#endif

// Small tiles keep several sums per element, so that one FMA need not wait for the one before.
template <int SUMS>
struct SetsOf {
  enum { value = SUMS >= 8 ? 1 : SUMS >= 4 ? 2 : 4 };
};

template <class L, int ROWS, int NV>
TC_SCHEDULE TC_NOINLINE void micro_kernel(const Rows& rows, const Slice& s) {
  enum { SETS = SetsOf<ROWS * NV>::value };
  typename L::T acc[SETS][ROWS][NV];
  for (int v = 0; v < NV; ++v) {
    const typename L::T bias = L::load(s.bias + v * L::N);
    for (int r = 0; r < ROWS; ++r) acc[0][r][v] = bias;
  }
  if (s.residual != nullptr) {
    for (int r = 0; r < ROWS; ++r) {
      for (int v = 0; v < NV; ++v) acc[0][r][v] = L::add(acc[0][r][v], L::load(s.residual + r * s.ldr + v * L::N));
    }
  }
  for (int set = 1; set < SETS; ++set) {
    for (int r = 0; r < ROWS; ++r) {
      for (int v = 0; v < NV; ++v) acc[set][r][v] = L::set1(0.0f);
    }
  }
  const E* b = s.b;
  for (int64_t i = 0; i < rows.outer; ++i) {
    for (int64_t j = 0; j < rows.inner; ++j) {
      const E* a = rows.a + i * rows.outer_stride + j * rows.inner_stride;
      b = accumulate<L, ROWS, NV, SETS>(acc, a, rows.lda, rows.run, b, s.ldb);
    }
  }
  E* const c = s.c;
  const int64_t ldc = s.ldc;  // of its own: stores to C might be stores to s
  const auto store = [&](auto last) TC_LAMBDA_INLINE {
    for (int r = 0; r < ROWS; ++r) {
      for (int v = 0; v < NV; ++v) {
        typename L::T sum = acc[0][r][v];
        for (int set = 1; set < SETS; ++set) sum = L::add(sum, acc[set][r][v]);
        L::store(c + r * ldc + v * L::N, last(sum, v));
      }
    }
  };
#if defined(TC_ACTIVATES)
  if (s.activation == TC_ACTIVATION_HARD_SWISH) return store([&](typename L::T x, int) TC_LAMBDA_INLINE { return L::hard_swish(x); });
  if (s.activation == TC_ACTIVATION_PRELU) {
    return store([&](typename L::T x, int v) TC_LAMBDA_INLINE { return L::prelu(x, L::load(s.slope + v * L::N)); });
  }
#endif
  const typename L::T lo = L::set1(s.lo), hi = L::set1(s.hi);
  store([&](typename L::T x, int) TC_LAMBDA_INLINE { return L::clamp(x, lo, hi); });
}

// The micro-kernel for `mr` rows, 1 <= mr <= ROWS.
template <class L, int NV, int ROWS>
TC_INLINE void run_rows(int mr, const Rows& rows, const Slice& s) {
  if constexpr (ROWS > 1) {
    if (mr < ROWS) return run_rows<L, NV, ROWS - 1>(mr, rows, s);
  }
  micro_kernel<L, ROWS, NV>(rows, s);
}

// Columns too few for a vector (a package made for narrower lanes).
inline void run_plain(int mr, int32_t width, const Rows& rows, const Slice& s) {
  for (int r = 0; r < mr; ++r) {
    for (int32_t j = 0; j < width; ++j) {
      float acc = s.bias[j] + (s.residual != nullptr ? s.residual[r * s.ldr + j] : 0.0f);
      const E* b = s.b + j;
      for (int64_t o = 0; o < rows.outer; ++o) {
        for (int64_t i = 0; i < rows.inner; ++i) {
          const E* a = rows.a + r * rows.lda + o * rows.outer_stride + i * rows.inner_stride;
          for (int64_t k = 0; k < rows.run; ++k, b += s.ldb) acc += a[k] * *b;
        }
      }
      acc = acc > s.lo || acc != acc ? acc : s.lo;
      s.c[r * s.ldc + j] = acc < s.hi || acc != acc ? acc : s.hi;
    }
  }
}

}  // namespace

#endif
