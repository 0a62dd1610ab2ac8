// Arithmetic and view rules for the check functions, whose params and shapes may be hostile.
#ifndef TIERCAST_SIMD_CHECKED_H_
#define TIERCAST_SIMD_CHECKED_H_

#include "simd/element.h"
#include "tiercast/kernel.h"

namespace {

// A non-negative int64 that remembers overflow: any overflow or negative operand makes `ok` false for good.
struct Checked {
  int64_t value;
  bool ok;
  explicit Checked(int64_t v) : value(v), ok(v >= 0) {}
  Checked(int64_t v, bool fine) : value(v), ok(fine && v >= 0) {}
};

inline Checked operator*(Checked a, Checked b) {
  int64_t out = 0;
  const bool over = __builtin_mul_overflow(a.value, b.value, &out);
  return Checked(out, a.ok && b.ok && !over);
}
inline Checked operator*(Checked a, int64_t b) { return a * Checked(b); }
inline Checked operator+(Checked a, Checked b) {
  int64_t out = 0;
  const bool over = __builtin_add_overflow(a.value, b.value, &out);
  return Checked(out, a.ok && b.ok && !over);
}
inline Checked operator+(Checked a, int64_t b) { return a + Checked(b); }

// True when the value is sound and at most `limit`.
inline bool within(Checked a, int64_t limit) { return a.ok && a.value <= limit; }

inline bool present(const tc_view& v) { return v.data != nullptr || v.rank != 0; }

inline bool is(const tc_view& v, int32_t dtype, int32_t rank) { return v.dtype == dtype && v.rank == rank; }

inline bool same_dims(const tc_view& a, const tc_view& b) {
  if (a.rank != b.rank) return false;
  for (int32_t i = 0; i < a.rank; ++i) {
    if (a.dims[i] != b.dims[i]) return false;
  }
  return true;
}

// Elements of a view; not ok on overflow.
inline Checked element_count(const tc_view& v) {
  Checked n(1);
  for (int32_t i = 0; i < v.rank; ++i) n = n * v.dims[i];
  return n;
}

// Row-major without gaps (strides of unit dims do not matter).
inline bool dense(const tc_view& v) {
  Checked expected(1);
  for (int32_t i = v.rank - 1; i >= 0; --i) {
    if (v.dims[i] != 1 && (!expected.ok || v.strides[i] != expected.value)) return false;
    expected = expected * v.dims[i];
  }
  return expected.ok;
}

// The last axis is contiguous and all other strides are non-negative, so row pointers only grow.
inline bool pitched(const tc_view& v) {
  for (int32_t i = 0; i < v.rank; ++i) {
    if (v.dims[i] != 1 && v.strides[i] < 0) return false;
  }
  return v.rank >= 1 && (v.dims[v.rank - 1] == 1 || v.strides[v.rank - 1] == 1);
}

}  // namespace

#endif
