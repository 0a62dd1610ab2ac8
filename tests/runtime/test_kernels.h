// A kernel library of three elementwise ops, enough to exercise binding, threads, scratch and every place a tensor can live in.
#ifndef TIERCAST_TESTS_TEST_KERNELS_H_
#define TIERCAST_TESTS_TEST_KERNELS_H_

#include "tiercast/kernel.h"

namespace tiercast_test {

// mul_f32f32 (rows: fast, which needs all CPU features, and portable), add_f32f32, scale_f32f32 (param: f32 factor). Ranks 0 to
// TC_MAX_RANK, equal dims, any strides; work items are elements.
const tc_library* test_library();

}  // namespace tiercast_test
#endif
