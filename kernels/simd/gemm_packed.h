// AArch64's fastest tile: twelve rows by eight columns, over A packed so that a vector holds four rows of one k. Packing costs one step in
// a few, so it is for blocks that meet enough columns; gemm_tile.h multiplies A where it lies.
// Include simd/gemm_tile.h before.
#ifndef TIERCAST_SIMD_GEMM_PACKED_H_
#define TIERCAST_SIMD_GEMM_PACKED_H_

#include <stddef.h>

namespace {

enum { PACKED_COLUMNS = 5 };  // columns from which packing pays

// Rows of a packed tile for `mr` real ones, or 0 where the tile is better read in place.
TC_INLINE int packed_height(int64_t mr) { return mr > 8 ? 12 : mr > 4 ? 8 : mr > 2 ? 4 : 0; }

// `k` columns of four rows to `at`, `pitch` floats apart.
TC_INLINE void pack_four_rows(const float* const (&rows)[4], int64_t k, float* at, int64_t pitch) {
  const float *r0 = rows[0], *r1 = rows[1], *r2 = rows[2], *r3 = rows[3];
  const int64_t step = pitch * (int64_t)sizeof(float);
#define TC_STORE(v0, v3, lane) "st4 {v" #v0 ".s-v" #v3 ".s}[" #lane "], [%[at]], %[step]\n"
#define TC_LOAD(row, lane) "ld1 {v0.s}[" #lane "], [%[" #row "]], #4\n"
  __asm__ volatile(
      "subs %[k], %[k], #8\n"
      "b.lt 2f\n"
      "1:\n"
      "ldp q0, q4, [%[r0]], #32\n"
      "ldp q1, q5, [%[r1]], #32\n"
      "ldp q2, q6, [%[r2]], #32\n"
      "ldp q3, q7, [%[r3]], #32\n" TC_STORE(0, 3, 0) TC_STORE(0, 3, 1) TC_STORE(0, 3, 2) TC_STORE(0, 3, 3) TC_STORE(4, 7, 0)
          TC_STORE(4, 7, 1) TC_STORE(4, 7, 2) TC_STORE(4, 7, 3)
      "subs %[k], %[k], #8\n"
      "b.ge 1b\n"
      "2:\n"
      "tbz %[k], #2, 3f\n"
      "ldr q0, [%[r0]], #16\n"
      "ldr q1, [%[r1]], #16\n"
      "ldr q2, [%[r2]], #16\n"
      "ldr q3, [%[r3]], #16\n" TC_STORE(0, 3, 0) TC_STORE(0, 3, 1) TC_STORE(0, 3, 2) TC_STORE(0, 3, 3)
      "3:\n"
      "ands %[k], %[k], #3\n"
      "b.eq 5f\n"
      "4:\n" TC_LOAD(r0, 0) TC_LOAD(r1, 1) TC_LOAD(r2, 2) TC_LOAD(r3, 3)
      "st1 {v0.4s}, [%[at]], %[step]\n"
      "subs %[k], %[k], #1\n"
      "b.gt 4b\n"
      "5:\n"
      : [r0] "+r"(r0), [r1] "+r"(r1), [r2] "+r"(r2), [r3] "+r"(r3), [at] "+r"(at), [k] "+r"(k)
      : [step] "r"(step)
      : "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "cc", "memory");
#undef TC_LOAD
#undef TC_STORE
}

// A of `mr` rows to [k][4 * GROUPS]; rows beyond mr repeat the last one, and nobody reads what they give.
template <int GROUPS>
TC_NOINLINE void pack_rows(const Rows& rows, int mr, float* to) {
  const int64_t lda = rows.lda;
  for (int64_t i = 0; i < rows.outer; ++i) {
    for (int64_t j = 0; j < rows.inner; ++j) {
      const float* row = rows.a + i * rows.outer_stride + j * rows.inner_stride;
      for (int g = 0; g < GROUPS; ++g) {
        const float* four[4];
        for (int r = 0; r < 4; ++r) {
          four[r] = row;
          if (4 * g + r + 1 < mr) row += lda;
        }
        pack_four_rows(four, rows.run, to + 4 * g, 4 * GROUPS);
      }
      to += rows.run * 4 * GROUPS;
    }
  }
}

// Packs a tile's A to `to`, which holds `mr` rounded up rows of all k, unless it is better read in place.
inline void pack_tile(Rows* rows, int mr, float* to) {
  const int height = packed_height(mr);
  if (height == 0) return;
  if (height == 12) pack_rows<3>(*rows, mr, to);
  if (height == 8) pack_rows<2>(*rows, mr, to);
  if (height == 4) pack_rows<1>(*rows, mr, to);
  rows->packed = to;
}

// acc[r][v] += A[k][r] * B[k][v] over `k` steps, in intrinsics.
template <int GROUPS, int NV>
TC_INLINE void packed_steps(V (&acc)[4 * GROUPS][NV], const float* a, const float* b, int64_t k) {
#pragma clang loop unroll_count(4)
  for (; k > 0; --k, a += 4 * GROUPS, b += NV * VL) {
    V bv[NV];
    for (int v = 0; v < NV; ++v) bv[v] = v_load(b + v * VL);
    for (int g = 0; g < GROUPS; ++g) {
      const V av = v_load(a + 4 * g);
      for (int v = 0; v < NV; ++v) {
        acc[4 * g][v] = fma_lane<0>(acc[4 * g][v], bv[v], av);
        acc[4 * g + 1][v] = fma_lane<1>(acc[4 * g + 1][v], bv[v], av);
        acc[4 * g + 2][v] = fma_lane<2>(acc[4 * g + 2][v], bv[v], av);
        acc[4 * g + 3][v] = fma_lane<3>(acc[4 * g + 3][v], bv[v], av);
      }
    }
  }
}

// One k of the main tile: rows 0-3, 4-7 and 8-11 are the lanes of three vectors of A, columns b0 and b1 of B. v8-v31 are the sums.
#define TC_ROW(c0, c1, a, lane, b0, b1) \
  "fmla v" #c0 ".4s, v" #b0 ".4s, v" #a ".s[" #lane "]\n fmla v" #c1 ".4s, v" #b1 ".4s, v" #a ".s[" #lane "]\n"
#define TC_ROWS0(a, b0, b1) \
  TC_ROW(8, 9, a, 0, b0, b1) TC_ROW(10, 11, a, 1, b0, b1) TC_ROW(12, 13, a, 2, b0, b1) TC_ROW(14, 15, a, 3, b0, b1)
#define TC_ROWS1(a, b0, b1) \
  TC_ROW(16, 17, a, 0, b0, b1) TC_ROW(18, 19, a, 1, b0, b1) TC_ROW(20, 21, a, 2, b0, b1) TC_ROW(22, 23, a, 3, b0, b1)
#define TC_ROWS2(a, b0, b1) \
  TC_ROW(24, 25, a, 0, b0, b1) TC_ROW(26, 27, a, 1, b0, b1) TC_ROW(28, 29, a, 2, b0, b1) TC_ROW(30, 31, a, 3, b0, b1)
// The first k of sums without bias.
#define TC_FIRST_ROW(c0, c1, a, lane, b0, b1) \
  "fmul v" #c0 ".4s, v" #b0 ".4s, v" #a ".s[" #lane "]\n fmul v" #c1 ".4s, v" #b1 ".4s, v" #a ".s[" #lane "]\n"
#define TC_FIRST_ROWS(a0, a1, a2, b0, b1) \
  TC_FIRST_ROW(8, 9, a0, 0, b0, b1)       \
  TC_FIRST_ROW(10, 11, a0, 1, b0, b1)     \
  TC_FIRST_ROW(12, 13, a0, 2, b0, b1)     \
  TC_FIRST_ROW(14, 15, a0, 3, b0, b1)     \
  TC_FIRST_ROW(16, 17, a1, 0, b0, b1)     \
  TC_FIRST_ROW(18, 19, a1, 1, b0, b1)     \
  TC_FIRST_ROW(20, 21, a1, 2, b0, b1)     \
  TC_FIRST_ROW(22, 23, a1, 3, b0, b1)     \
  TC_FIRST_ROW(24, 25, a2, 0, b0, b1)     \
  TC_FIRST_ROW(26, 27, a2, 1, b0, b1) TC_FIRST_ROW(28, 29, a2, 2, b0, b1) TC_FIRST_ROW(30, 31, a2, 3, b0, b1)
#define TC_NINE(X) X(8, 9) X(10, 11) X(12, 13) X(14, 15) X(16, 17) X(18, 19) X(20, 21) X(22, 23) X(24, 25)
// Rows 9 to 11 as far as there are, then on to label `next`.
#define TC_REST(X, next)                                                                                                              \
  "cmp %w[mr], #10\n b.lt " #next "f\n" X(26, 27) "b.eq " #next "f\n" X(28, 29) "cmp %w[mr], #12\n b.lt " #next "f\n" X(30, 31) #next \
      ":"                                                                                                                             \
      "\n"
#define TC_BIAS(c0, c1) "mov v" #c0 ".16b, v0.16b\n mov v" #c1 ".16b, v1.16b\n"
#define TC_RESIDUAL(c0, c1) "ld1 {v2.4s-v3.4s}, [%[residual]], %[ldr]\n fadd v" #c0 ".4s, v0.4s, v2.4s\n fadd v" #c1 ".4s, v1.4s, v3.4s\n"
#define TC_LOW(c0, c1) "fmax v" #c0 ".4s, v" #c0 ".4s, v0.4s\n fmax v" #c1 ".4s, v" #c1 ".4s, v0.4s\n"
#define TC_HIGH(c0, c1) "fmin v" #c0 ".4s, v" #c0 ".4s, v1.4s\n fmin v" #c1 ".4s, v" #c1 ".4s, v1.4s\n"
#define TC_PRELU(c0, c1)                                                                 \
  "fmul v2.4s, v" #c0 ".4s, v0.4s\n fmul v3.4s, v" #c1 ".4s, v1.4s\n fcmlt v4.4s, v" #c0 \
  ".4s, #0.0\n"                                                                          \
  "fcmlt v5.4s, v" #c1 ".4s, #0.0\n bit v" #c0 ".16b, v2.16b, v4.16b\n bit v" #c1 ".16b, v3.16b, v5.16b\n"
#define TC_HARD_SWISH(c0, c1)                                                                                   \
  "mov v2.16b, v1.16b\n mov v3.16b, v1.16b\n fmla v2.4s, v" #c0 ".4s, v0.4s\n fmla v3.4s, v" #c1                \
  ".4s, v0.4s\n"                                                                                                \
  "fmax v2.4s, v2.4s, v4.4s\n fmax v3.4s, v3.4s, v4.4s\n fmin v2.4s, v2.4s, v5.4s\n fmin v3.4s, v3.4s, v5.4s\n" \
  "fmul v" #c0 ".4s, v" #c0 ".4s, v2.4s\n fmul v" #c1 ".4s, v" #c1 ".4s, v3.4s\n"
#define TC_STORE(c0, c1) "st1 {v" #c0 ".4s-v" #c1 ".4s}, [%[c]], %[ldc]\n"

#if defined(TC_IN_ORDER)
// In-order cores wait for a load that is used at once, and Cortex-A53 and A55 for the write of an address that moved: the loads of one k
// stand together, a k ahead, with eight FMAs of the last one between them and their use, and addresses move once in eight k. What goes in
// is k's A in v2-v4 and B in v6-v7, and the last rows of the k before (zeros at first) in v5 and v0-v1; the k that is loaded when fewer
// than five are left is loaded again below.
#define TC_NEXT(a0, a1, a2, at_a, b0, b1, at_b) \
  "ldp q" #a0 ", q" #a1 ", [%[a], #" #at_a "]\n ldr q" #a2 ", [%[a], #" #at_a " + 32]\n ldp q" #b0 ", q" #b1 ", [%[b], #" #at_b "]\n"
#define TC_TWO_STEPS(a0, b0, a1, b1) \
  TC_ROWS2(5, 0, 1)                  \
  TC_ROWS1(3, 6, 7)                  \
  TC_ROWS2(4, 6, 7) TC_NEXT(3, 4, 5, a0, 0, 1, b0) TC_ROWS0(2, 6, 7) TC_ROWS0(3, 0, 1) TC_ROWS1(4, 0, 1) TC_NEXT(2, 3, 4, a1, 6, 7, b1)
#define TC_FOUR_STEPS(a0, b0, a1, b1, a2, b2, a3, b3) TC_TWO_STEPS(a0, b0, a1, b1) TC_TWO_STEPS(a2, b2, a3, b3)
#define TC_MAIN_LOOP \
  "cbz %[k], 6f\n" \
  TC_NEXT(2, 3, 4, 0, 6, 7, 0) \
  "add %[a], %[a], #48\n add %[b], %[b], #32\n" \
  "movi v0.4s, #0\n movi v1.4s, #0\n movi v5.4s, #0\n" \
  "subs %[k], %[k], #9\n" \
  "b.lt 13f\n" \
  "3:\n" TC_FOUR_STEPS(0, 0, 48, 32, 96, 64, 144, 96) TC_FOUR_STEPS(192, 128, 240, 160, 288, 192, 336, 224) \
  "add %[a], %[a], #384\n add %[b], %[b], #256\n" \
  "subs %[k], %[k], #8\n" \
  "b.ge 3b\n" \
  "13:\n" \
  "adds %[k], %[k], #4\n" \
  "b.lt 4f\n" TC_FOUR_STEPS(0, 0, 48, 32, 96, 64, 144, 96) \
  "add %[a], %[a], #192\n add %[b], %[b], #128\n" \
  "sub %[k], %[k], #4\n" \
  "4:\n" TC_ROWS2(5, 0, 1) \
  "sub %[a], %[a], #48\n sub %[b], %[b], #32\n" \
  "add %[k], %[k], #5\n"
#else
// Each load of A or B takes the place of what was just used up, which cores that rename registers run at their FMA rate.
#define TC_MAIN_LOOP \
  "subs %[k], %[k], #4\n" \
  "b.lt 4f\n" \
  "3:\n" \
  "ld1 {v0.4s-v3.4s}, [%[a]], #64\n" \
  "ld1 {v4.4s-v7.4s}, [%[b]], #64\n" TC_ROWS0(0, 4, 5) TC_ROWS1(1, 4, 5) TC_ROWS2(2, 4, 5) TC_ROWS0(3, 6, 7) \
  "ld1 {v0.4s-v3.4s}, [%[a]], #64\n" TC_ROWS1(0, 6, 7) TC_ROWS2(1, 6, 7) \
  "ld1 {v4.4s-v7.4s}, [%[b]], #64\n" TC_ROWS0(2, 4, 5) TC_ROWS1(3, 4, 5) \
  "ld1 {v0.4s-v3.4s}, [%[a]], #64\n" TC_ROWS2(0, 4, 5) TC_ROWS0(1, 6, 7) TC_ROWS1(2, 6, 7) TC_ROWS2(3, 6, 7) \
  "subs %[k], %[k], #4\n" \
  "b.ge 3b\n" \
  "4:\n" \
  "ands %[k], %[k], #3\n" \
  "b.eq 6f\n"
#endif

// Tiles that follow each other, and what they share besides their Slice, whose residual only says whether there is one: the bytes from each
// tile's packed A to this product's, and from its C and residual to the panel's first column.
struct PackedRun {
  const Tile* tiles;
  int64_t count, k, a_offset, c_offset;
};

// The main tile, 9 to 12 rows by 8 columns, for `count` tiles, which share the panel and so what is set up once for it. The loop over four
// k is 96 FMAs, five loads and two instructions of loop (12 loads and two on in-order cores). In C++ the compiler splits the loads and
// spills. Without bias the first k starts the sums.
TC_NOINLINE void packed_12x8(const PackedRun& run, const Slice& s) {
  const Tile* tile = run.tiles;
  int64_t count = run.count, k, mr;
  const float *a, *b, *residual;
  float* c;
  const int64_t ldc = s.ldc * (int64_t)sizeof(float), ldr = s.ldr * (int64_t)sizeof(float);
  const float sixth = 1.0f / 6.0f;
  const float* slope = s.activation == TC_ACTIVATION_PRELU ? s.slope : nullptr;
  const int swish = s.activation == TC_ACTIVATION_HARD_SWISH;
  const int low = s.lo > -HUGE_VALF, high = s.hi < HUGE_VALF;
  __asm__ volatile(
      "20:\n"
      "ldr %[a], [%[tile], %[packed_at]]\n"
      "ldr %[c], [%[tile], %[c_at]]\n"
      "ldr %w[mr], [%[tile], %[mr_at]]\n"
      "add %[a], %[a], %[a_offset]\n"
      "add %[c], %[c], %[c_offset]\n"
      "mov %[b], %[b_begin]\n"
      "mov %[k], %[k_all]\n"
      "cbz %[bias], 0f\n"
      "ld1 {v0.4s-v1.4s}, [%[bias]]\n"
      "cbnz %[adds], 1f\n" TC_NINE(TC_BIAS) TC_BIAS(26, 27) TC_BIAS(28, 29) TC_BIAS(30, 31)
      "b 2f\n"
      "0:\n"
      "ld1 {v0.4s-v2.4s}, [%[a]], #48\n"
      "ld1 {v4.4s-v5.4s}, [%[b]], #32\n" TC_FIRST_ROWS(0, 1, 2, 4, 5)
      "sub %[k], %[k], #1\n"
      "b 2f\n"
      "1:\n"
      "ldr %[residual], [%[tile], %[residual_at]]\n"
      "add %[residual], %[residual], %[c_offset]\n" TC_NINE(TC_RESIDUAL) TC_REST(TC_RESIDUAL, 2) TC_MAIN_LOOP
      "5:\n"
      "ld1 {v0.4s-v2.4s}, [%[a]], #48\n"
      "ld1 {v4.4s-v5.4s}, [%[b]], #32\n" TC_ROWS0(0, 4, 5) TC_ROWS1(1, 4, 5) TC_ROWS2(2, 4, 5)
      "subs %[k], %[k], #1\n"
      "b.gt 5b\n"
      "6:\n"
      "cbnz %[slope], 10f\n"
      "cbnz %w[swish], 11f\n"
      "cbz %w[low], 7f\n"
      "ld1r {v0.4s}, [%[lo]]\n" TC_NINE(TC_LOW) TC_LOW(26, 27) TC_LOW(28, 29) TC_LOW(30, 31)
      "7:\n"
      "cbz %w[high], 8f\n"
      "ld1r {v1.4s}, [%[hi]]\n" TC_NINE(TC_HIGH) TC_HIGH(26, 27) TC_HIGH(28, 29) TC_HIGH(30, 31)
      "8:\n" TC_NINE(TC_STORE) TC_REST(TC_STORE, 9)
      "subs %[count], %[count], #1\n"
      "add %[tile], %[tile], %[tile_bytes]\n"
      "b.gt 20b\n"
      "b 12f\n"
      "10:\n"
      "ld1 {v0.4s-v1.4s}, [%[slope]]\n" TC_NINE(TC_PRELU) TC_PRELU(26, 27) TC_PRELU(28, 29) TC_PRELU(30, 31)
      "b 8b\n"
      "11:\n"
      "ld1r {v0.4s}, [%[sixth]]\n"
      "fmov v1.4s, #0.5\n"
      "movi v4.4s, #0\n"
      "fmov v5.4s, #1.0\n" TC_NINE(TC_HARD_SWISH) TC_HARD_SWISH(26, 27) TC_HARD_SWISH(28, 29) TC_HARD_SWISH(30, 31)
      "b 8b\n"
      "12:\n"
      : [tile] "+r"(tile), [count] "+r"(count), [a] "=&r"(a), [b] "=&r"(b), [k] "=&r"(k), [c] "=&r"(c), [residual] "=&r"(residual),
        [mr] "=&r"(mr)
      : [b_begin] "r"(s.b), [k_all] "r"(run.k), [a_offset] "r"(run.a_offset), [c_offset] "r"(run.c_offset), [bias] "r"(s.bias),
        [ldc] "r"(ldc), [ldr] "r"(ldr), [lo] "r"(&s.lo), [hi] "r"(&s.hi), [low] "r"(low), [high] "r"(high), [slope] "r"(slope),
        [swish] "r"(swish), [adds] "r"(s.residual), [sixth] "r"(&sixth), [packed_at] "i"(offsetof(Tile, rows.packed)), [c_at] "i"(offsetof(Tile, c)),
        [residual_at] "i"(offsetof(Tile, residual)), [mr_at] "i"(offsetof(Tile, mr)), [tile_bytes] "i"(sizeof(Tile))
      : "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19",
        "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31", "cc", "memory");
}
#undef TC_MAIN_LOOP
#if defined(TC_IN_ORDER)
#undef TC_FOUR_STEPS
#undef TC_TWO_STEPS
#undef TC_NEXT
#endif
#undef TC_STORE
#undef TC_HARD_SWISH
#undef TC_PRELU
#undef TC_HIGH
#undef TC_LOW
#undef TC_RESIDUAL
#undef TC_BIAS
#undef TC_REST
#undef TC_NINE
#undef TC_FIRST_ROWS
#undef TC_FIRST_ROW
#undef TC_ROWS2
#undef TC_ROWS1
#undef TC_ROWS0
#undef TC_ROW

// The smaller tiles: C's first `mr` rows of 4 * GROUPS, of a panel of NV vectors.
template <int GROUPS, int NV>
TC_NOINLINE void packed_kernel(const PackedRun& run, const Slice& s) {
  enum { HEIGHT = 4 * GROUPS };
  const int mr = run.tiles->mr;
  const float* a = (const float*)((const char*)run.tiles->rows.packed + run.a_offset);
  float* const first = (float*)((char*)run.tiles->c + run.c_offset);
  V acc[HEIGHT][NV];
  for (int v = 0; v < NV; ++v) {
    const V bias = s.bias == nullptr ? v_zero() : v_load(s.bias + v * VL);
    for (int r = 0; r < HEIGHT; ++r) acc[r][v] = bias;
  }
  if (s.residual != nullptr) {
    const float* residual = (const float*)((const char*)run.tiles->residual + run.c_offset);
    for (int r = 0; r < HEIGHT; ++r, residual += s.ldr) {
      if (r >= mr) break;
      for (int v = 0; v < NV; ++v) acc[r][v] = v_add(acc[r][v], v_load(residual + v * VL));
    }
  }
  packed_steps<GROUPS, NV>(acc, a, s.b, run.k);
  const int64_t ldc = s.ldc;
  const auto store = [&](auto last) TC_LAMBDA_INLINE {
    float* c = first;
    for (int r = 0; r < HEIGHT; ++r, c += ldc) {
      if (r >= mr) break;
      for (int v = 0; v < NV; ++v) v_store(c + v * VL, last(acc[r][v], v));
    }
  };
  if (s.activation == TC_ACTIVATION_HARD_SWISH) return store([](V x, int) TC_LAMBDA_INLINE { return Full::hard_swish(x); });
  if (s.activation == TC_ACTIVATION_PRELU) {
    return store([&](V x, int v) TC_LAMBDA_INLINE { return Full::prelu(x, v_load(s.slope + v * VL)); });
  }
  const V lo = v_set1(s.lo), hi = v_set1(s.hi);
  store([&](V x, int) TC_LAMBDA_INLINE { return Full::clamp(x, lo, hi); });
}

// True where `width` columns of a packed tile have a kernel.
TC_INLINE bool packed_width(int32_t width) { return width == VL || width == 2 * VL; }

// The packed tiles that `run` begins with, as many as run together, against `width` columns; packed_width(width). Returns their number.
TC_INLINE int64_t run_packed(PackedRun run, int32_t width, const Slice& s) {
  const int mr = run.tiles->mr;
  int64_t together = 1;
  if (mr > 8 && width == 2 * VL) {
    while (together < run.count && run.tiles[together].rows.packed != nullptr && run.tiles[together].mr > 8) ++together;
    run.count = together;
    packed_12x8(run, s);
  } else if (mr > 8) {
    packed_kernel<3, 1>(run, s);
  } else if (mr > 4) {
    width == VL ? packed_kernel<2, 1>(run, s) : packed_kernel<2, 2>(run, s);
  } else {
    width == VL ? packed_kernel<1, 1>(run, s) : packed_kernel<1, 2>(run, s);
  }
  return together;
}

}  // namespace

#endif
