#include "overlap.h"

namespace tiercast {
namespace {

// Bytes that one element and the dims whose stride is not a multiple of `modulus` reach over.
uint64_t inner_reach(const ByteView& view, uint64_t modulus) {
  uint64_t reach = view.element_bytes;
  for (int32_t i = 0; i < view.rank; ++i)
    if (view.dims[i] > 1 && view.strides[i] % modulus != 0) reach += (view.dims[i] - 1) * view.strides[i];
  return reach;
}

// Whether all bytes of a and of b differ modulo `modulus`.
bool disjoint_modulo(const ByteView& a, const ByteView& b, uint64_t modulus) {
  const uint64_t reach_a = inner_reach(a, modulus), reach_b = inner_reach(b, modulus);
  if (reach_a > modulus || reach_b > modulus) return false;
  const uint64_t residue_a = a.begin % modulus, residue_b = b.begin % modulus;
  const uint64_t a_to_b = (residue_b + modulus - residue_a) % modulus;  // going up, cyclically
  return a_to_b >= reach_a && modulus - a_to_b >= reach_b;
}

// Whether a stride of `strides_of` proves a and b apart.
bool some_stride_separates(const ByteView& strides_of, const ByteView& a, const ByteView& b) {
  for (int32_t i = 0; i < strides_of.rank; ++i)
    if (strides_of.dims[i] > 1 && strides_of.strides[i] > 1 && disjoint_modulo(a, b, strides_of.strides[i])) return true;
  return false;
}

}  // namespace

uint64_t end_of(const ByteView& view) {
  uint64_t end = view.begin + view.element_bytes;
  for (int32_t i = 0; i < view.rank; ++i) end += (view.dims[i] - 1) * view.strides[i];
  return end;
}

bool same_view(const ByteView& a, const ByteView& b) {
  if (a.begin != b.begin || a.element_bytes != b.element_bytes || a.rank != b.rank) return false;
  for (int32_t i = 0; i < a.rank; ++i)
    if (a.dims[i] != b.dims[i] || (a.dims[i] > 1 && a.strides[i] != b.strides[i])) return false;
  return true;
}

bool disjoint(const ByteView& a, const ByteView& b) {
  if (end_of(a) <= b.begin || end_of(b) <= a.begin) return true;
  return some_stride_separates(a, a, b) || some_stride_separates(b, a, b);
}

bool injective(const ByteView& view) {
  bool used[TC_MAX_RANK] = {};
  uint64_t reach = view.element_bytes;
  for (int32_t round = 0; round < view.rank; ++round) {
    int32_t next = -1;  // the unused dim with the smallest stride
    for (int32_t i = 0; i < view.rank; ++i)
      if (!used[i] && view.dims[i] > 1 && (next < 0 || view.strides[i] < view.strides[next])) next = i;
    if (next < 0) return true;
    if (view.strides[next] < reach) return false;
    used[next] = true;
    reach += (view.dims[next] - 1) * view.strides[next];
  }
  return true;
}

}  // namespace tiercast
