// The meaning of a plan: what must hold beyond being a well-formed FlatBuffer.
#ifndef TIERCAST_SRC_VERIFY_H_
#define TIERCAST_SRC_VERIFY_H_

#include <stdint.h>

#include "package.h"

namespace tiercast {

constexpr uint32_t kMaxCount = 1000000;  // tensors, steps, operands of all steps together
constexpr uint32_t kMaxPlans = 64;
constexpr uint32_t kMaxPorts = 1024;
constexpr uint32_t kMaxParamsBytes = 1 << 20;
constexpr uint64_t kMaxArenaBytes = uint64_t{1} << 36;  // 64 GiB
constexpr uint64_t kMaxElements = uint64_t{1} << 40;    // of one view, so that kernels may multiply its dims
constexpr uint64_t kMaxDim = (uint64_t{1} << 31) - 1;
constexpr uint64_t kMaxStride = uint64_t{1} << 40;
constexpr uint32_t kPlanMaxDepth = 8;
constexpr uint32_t kPlanMaxTables = 4000000;

// TC_OK when the plans are the buckets of one model (see package.fbs), and in each of them every view lies inside its place, every index is
// in range, and no step writes over what it reads (except in place, through exactly the same view). What a kernel makes of params and
// shapes is for its `check`.
tc_status verify_model(const Package& package, tc_error* error);

// Whether a step of a verified plan writes a view that it also reads.
bool is_in_place(const fb::Plan& plan, const fb::Step& step);

// Bytes of a dense tensor of these dims, or false when the product overflows or is beyond the limits.
bool dense_bytes(const flatbuffers::Vector<int64_t>* dims, int32_t dtype, uint64_t* bytes);

}  // namespace tiercast
#endif
