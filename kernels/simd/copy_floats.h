// Short copies and fills of elements. Include one ISA's header before.
#ifndef TIERCAST_SIMD_COPY_FLOATS_H_
#define TIERCAST_SIMD_COPY_FLOATS_H_

namespace {

// One vector, of which `left` >= 1 elements or more are there.
TC_INLINE V load_piece(const E* p, int64_t left) { return left >= VL ? v_load(p) : v_load_n(p, left); }
TC_INLINE void store_piece(E* p, V x, int64_t left) {
  if (left >= VL) {
    v_store(p, x);
  } else {
    v_store_n(p, x, left);
  }
}

inline void copy_floats(E* to, const E* from, int64_t n) {
  int64_t i = 0;
  for (; i + VL <= n; i += VL) v_store(to + i, v_load(from + i));
  if (i < n) v_store_n(to + i, v_load_n(from + i, n - i), n - i);
}

inline void zero_floats(E* to, int64_t n) {
  int64_t i = 0;
  for (; i + VL <= n; i += VL) v_store(to + i, v_zero());
  if (i < n) v_store_n(to + i, v_zero(), n - i);
}

}  // namespace

#endif
