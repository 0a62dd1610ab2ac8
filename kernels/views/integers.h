// Integer operands of any width, read and written as 64 bits.
#ifndef TIERCAST_VIEWS_INTEGERS_H_
#define TIERCAST_VIEWS_INTEGERS_H_

#include "views/rules.h"

namespace {

// Truth values count as integers.
inline bool is_integer(int32_t dtype) { return dtype != TC_F32 && dtype != TC_F16 && dtype != TC_F64 && dtype != TC_BF16; }

// Of a u64 the same 64 bits.
inline int64_t load_integer(const tc_view& v, int64_t at) {
  switch (v.dtype) {
    case TC_S8:
      return static_cast<const int8_t*>(v.data)[at];
    case TC_S16:
      return static_cast<const int16_t*>(v.data)[at];
    case TC_U16:
      return static_cast<const uint16_t*>(v.data)[at];
    case TC_S32:
      return static_cast<const int32_t*>(v.data)[at];
    case TC_U32:
      return static_cast<const uint32_t*>(v.data)[at];
    case TC_S64:
    case TC_U64:
      return static_cast<const int64_t*>(v.data)[at];
    case TC_BOOL:
      return static_cast<const uint8_t*>(v.data)[at] != 0;
    default:
      return static_cast<const uint8_t*>(v.data)[at];
  }
}

// Keeps the low bits, so arithmetic wraps at the operand's width; bool is 0 or 1.
inline void store_integer(const tc_view& v, int64_t at, int64_t x) {
  switch (v.dtype) {
    case TC_S16:
    case TC_U16:
      static_cast<uint16_t*>(v.data)[at] = static_cast<uint16_t>(x);
      return;
    case TC_S32:
    case TC_U32:
      static_cast<uint32_t*>(v.data)[at] = static_cast<uint32_t>(x);
      return;
    case TC_S64:
    case TC_U64:
      static_cast<int64_t*>(v.data)[at] = x;
      return;
    case TC_BOOL:
      static_cast<uint8_t*>(v.data)[at] = x != 0;
      return;
    default:
      static_cast<uint8_t*>(v.data)[at] = static_cast<uint8_t>(x);
  }
}

// As numbers in the order of the values: a u64's first bit is turned, and back.
inline int64_t load_ordered(const tc_view& v, int64_t at) {
  return v.dtype == TC_U64 ? load_integer(v, at) ^ INT64_MIN : load_integer(v, at);
}
inline void store_ordered(const tc_view& v, int64_t at, int64_t x) { store_integer(v, at, v.dtype == TC_U64 ? x ^ INT64_MIN : x); }

// Arithmetic that wraps instead of being undefined.
inline int64_t wrapping_add(int64_t a, int64_t b) { return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b)); }
inline int64_t wrapping_mul(int64_t a, int64_t b) { return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b)); }

}  // namespace

#endif
