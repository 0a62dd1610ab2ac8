// Do two strided views of one buffer share a byte?
#ifndef TIERCAST_SRC_OVERLAP_H_
#define TIERCAST_SRC_OVERLAP_H_

#include <stdint.h>

#include "tiercast/kernel.h"

namespace tiercast {

// A view as bytes: `begin` from the start of its buffer, strides in bytes. Verified: strides >= 0, dims >= 1, end below 2^63.
struct ByteView {
  uint64_t begin;
  uint64_t element_bytes;
  int32_t rank;
  uint64_t dims[TC_MAX_RANK];
  uint64_t strides[TC_MAX_RANK];
};

// One past the last byte of the view.
uint64_t end_of(const ByteView& view);

// Whether both name the same bytes in the same order (strides of dims of size 1 do not count).
bool same_view(const ByteView& a, const ByteView& b);

// True only when no byte belongs to both. It proves so by disjoint ranges, or by disjoint residues modulo a stride of either view: then
// they are interleaved like the channels of one concatenated tensor. Anything it cannot prove counts as overlap.
bool disjoint(const ByteView& a, const ByteView& b);

// True only when no two index tuples of the view share a byte: sorted by stride, each stride steps over all that lies inside it.
bool injective(const ByteView& view);

}  // namespace tiercast
#endif
