#include <string.h>

#include "tiercast/tiercast.h"

namespace {

struct Dtype {
  const char* name;
  int32_t bytes;
};

constexpr Dtype kDtypes[TC_DTYPE_COUNT] = {{"f32", 4}, {"f16", 2}, {"s8", 1},  {"u8", 1},  {"s32", 4}, {"s64", 8}, {"bool", 1},
                                           {"s16", 2}, {"u16", 2}, {"u32", 4}, {"u64", 8}, {"f64", 8}, {"bf16", 2}};

bool known(int32_t dtype) { return dtype >= 0 && dtype < TC_DTYPE_COUNT; }

}  // namespace

const char* tc_dtype_name(int32_t dtype) { return known(dtype) ? kDtypes[dtype].name : "?"; }

int32_t tc_dtype_bytes(int32_t dtype) { return known(dtype) ? kDtypes[dtype].bytes : 0; }

uint64_t tc_view_dense_bytes(const tc_view* view) {
  uint64_t bytes = static_cast<uint64_t>(tc_dtype_bytes(view->dtype));
  for (int32_t i = 0; i < view->rank; ++i) bytes *= static_cast<uint64_t>(view->dims[i]);
  return bytes;
}

void tc_view_copy_dense(const tc_view* view, void* out) {
  const auto element_bytes = static_cast<size_t>(tc_dtype_bytes(view->dtype));
  const int32_t last = view->rank - 1;
  const int64_t inner = view->rank == 0 ? 1 : view->dims[last], inner_stride = view->rank == 0 ? 1 : view->strides[last];
  const auto* from = static_cast<const uint8_t*>(view->data);
  auto* to = static_cast<uint8_t*>(out);
  int64_t index[TC_MAX_RANK] = {};
  for (;;) {
    int64_t offset = 0;
    for (int32_t i = 0; i < last; ++i) offset += index[i] * view->strides[i];
    const uint8_t* row = from + offset * static_cast<int64_t>(element_bytes);
    if (inner_stride == 1) {
      memcpy(to, row, static_cast<size_t>(inner) * element_bytes);
    } else {
      for (int64_t j = 0; j < inner; ++j)
        memcpy(to + j * static_cast<int64_t>(element_bytes), row + j * inner_stride * static_cast<int64_t>(element_bytes), element_bytes);
    }
    to += static_cast<size_t>(inner) * element_bytes;
    int32_t dim = last - 1;
    while (dim >= 0 && ++index[dim] == view->dims[dim]) index[dim--] = 0;
    if (dim < 0) return;
  }
}
