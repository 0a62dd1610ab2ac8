#include "test_kernels.h"

#include <string.h>

namespace tiercast_test {
namespace {

bool same_dims(const tc_view& a, const tc_view& b) {
  return a.rank == b.rank && memcmp(a.dims, b.dims, sizeof(int64_t) * static_cast<size_t>(a.rank)) == 0;
}

int64_t element_count(const tc_view& view) {
  int64_t count = 1;
  for (int32_t i = 0; i < view.rank; ++i) count *= view.dims[i];
  return count;
}

float* element(const tc_view& view, int64_t number) {
  int64_t offset = 0;
  for (int32_t i = view.rank; i-- > 0;) {
    offset += number % view.dims[i] * view.strides[i];
    number /= view.dims[i];
  }
  return static_cast<float*>(view.data) + offset;
}

int64_t work(const tc_call* call) { return element_count(call->outputs[0]); }

const char* check_binary(const tc_call* call) {
  if (call->input_count != 2 || call->output_count != 1) return "takes two inputs and one output";
  const tc_view &a = call->inputs[0], &b = call->inputs[1], &y = call->outputs[0];
  if (a.data == nullptr || b.data == nullptr) return "no input may be absent";
  if (a.dtype != TC_F32 || b.dtype != TC_F32 || y.dtype != TC_F32) return "all must be f32";
  if (!same_dims(a, y) || !same_dims(b, y)) return "all dims must be equal";
  return nullptr;
}

const char* check_add(const tc_call* call) {
  if (call->scratch_bytes < 256) return "scratch must be at least 256 bytes";
  return check_binary(call);
}

const char* check_scale(const tc_call* call) {
  if (call->input_count != 2 || call->output_count != 1) return "takes two inputs and one output";
  if (call->inputs[0].data == nullptr || call->inputs[1].data != nullptr) return "takes the first input only";
  if (call->params_bytes != 4) return "params must be one f32";
  if (call->inputs[0].dtype != TC_F32 || call->outputs[0].dtype != TC_F32) return "all must be f32";
  return same_dims(call->inputs[0], call->outputs[0]) ? nullptr : "all dims must be equal";
}

void run_mul(const tc_call* call, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) *element(call->outputs[0], i) = *element(call->inputs[0], i) * *element(call->inputs[1], i);
}

void run_add(const tc_call* call, int64_t begin, int64_t end) {
  auto* sum = static_cast<float*>(call->scratch);
  for (int64_t i = begin; i < end; ++i) {
    sum[i % 64] = *element(call->inputs[0], i) + *element(call->inputs[1], i);
    *element(call->outputs[0], i) = sum[i % 64];
  }
}

void run_scale(const tc_call* call, int64_t begin, int64_t end) {
  float factor;
  memcpy(&factor, call->params, sizeof(factor));
  for (int64_t i = begin; i < end; ++i) *element(call->outputs[0], i) = *element(call->inputs[0], i) * factor;
}

const tc_kernel kMulFast = {"mul_f32f32_fast", "mul_f32f32", 0x7f, check_binary, work, run_mul, 0};
const tc_kernel kMul = {"mul_f32f32_portable", "mul_f32f32", 0, check_binary, work, run_mul, 0};
const tc_kernel kAdd = {"add_f32f32_portable", "add_f32f32", 0, check_add, work, run_add, 0};
const tc_kernel kScale = {"scale_f32f32_portable", "scale_f32f32", 0, check_scale, work, run_scale, TC_KERNEL_IN_PLACE};
const tc_kernel* const kKernels[] = {&kMulFast, &kMul, &kAdd, &kScale};
const tc_library kLibrary = {kKernels, 4, "test"};

}  // namespace

const tc_library* test_library() { return &kLibrary; }

}  // namespace tiercast_test
