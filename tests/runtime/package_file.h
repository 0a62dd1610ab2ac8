// Builds package files in memory, right or wrong on purpose, from FlatBuffers' object API.
#ifndef TIERCAST_TESTS_PACKAGE_FILE_H_
#define TIERCAST_TESTS_PACKAGE_FILE_H_

#include <stdlib.h>
#include <string.h>

#include <memory>
#include <string>
#include <vector>

#define XXH_INLINE_ALL
#include "package_generated.h"
#include "xxhash.h"

namespace tiercast_test {

namespace fb = tiercast::fb;

// The header fields of package.fbs.
struct Header {
  char magic[8];
  uint32_t version, reserved;
  uint64_t plan_offset, plan_bytes, weights_offset, weights_bytes, body_checksum, header_checksum;
};
static_assert(sizeof(Header) == 64, "as in the file");

// Bytes at a 64-byte boundary of exactly this size, so that AddressSanitizer sees every step outside.
struct AlignedBytes {
  struct Free {
    void operator()(uint8_t* bytes) const { free(bytes); }
  };
  std::unique_ptr<uint8_t, Free> bytes;
  size_t size = 0;

  explicit AlignedBytes(const std::vector<uint8_t>& from) : size(from.size()) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 64, size == 0 ? 1 : size) != 0) abort();
    if (size != 0) memcpy(memory, from.data(), size);
    bytes.reset(static_cast<uint8_t*>(memory));
  }
};

// Makes both checksums right again, when the file has a header at all.
inline void fix_checksums(std::vector<uint8_t>* file) {
  if (file->size() < sizeof(Header)) return;
  Header header;
  memcpy(&header, file->data(), sizeof(header));
  header.body_checksum = XXH3_64bits(file->data() + sizeof(header), file->size() - sizeof(header));
  memcpy(file->data(), &header, sizeof(header));
  header.header_checksum = XXH3_64bits(file->data(), 56);
  memcpy(file->data(), &header, sizeof(header));
}

// The file of a packed plan and a weights segment.
inline std::vector<uint8_t> make_file(const uint8_t* plan, size_t plan_bytes, const std::vector<uint8_t>& weights) {
  Header header = {{'T', 'I', 'E', 'R', 'C', 'A', 'S', 'T'}, 2, 0, 64, plan_bytes, 0, weights.size(), 0, 0};
  header.weights_offset = (64 + plan_bytes + 16383) / 16384 * 16384;
  std::vector<uint8_t> file(header.weights_offset + weights.size());
  memcpy(file.data(), &header, sizeof(header));
  memcpy(file.data() + 64, plan, plan_bytes);
  if (!weights.empty()) memcpy(file.data() + header.weights_offset, weights.data(), weights.size());
  fix_checksums(&file);
  return file;
}

inline std::vector<uint8_t> make_file(const fb::ModelT& model, const std::vector<uint8_t>& weights) {
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(fb::Model::Pack(builder, &model), fb::ModelIdentifier());
  return make_file(builder.GetBufferPointer(), builder.GetSize(), weights);
}

inline std::vector<uint8_t> make_file(const fb::PlanT& plan, const std::vector<uint8_t>& weights) {
  fb::ModelT model;
  model.plans.push_back(std::make_unique<fb::PlanT>(plan));
  return make_file(model, weights);
}

// Appends a dense f32 tensor (unless strides are given); returns its number.
inline int32_t add_tensor(fb::PlanT* plan, const std::string& name, std::vector<int64_t> dims, fb::Place place, uint64_t offset,
                          uint32_t index = 0, std::vector<int64_t> strides = {}) {
  auto tensor = std::make_unique<fb::TensorT>();
  tensor->name = name;
  tensor->place = place;
  tensor->offset = offset;
  tensor->index = index;
  if (strides.empty()) {
    strides.assign(dims.size(), 1);
    for (size_t i = dims.size(); i-- > 1;) strides[i - 1] = strides[i] * dims[i];
  }
  tensor->dims = std::move(dims);
  tensor->strides = std::move(strides);
  plan->tensors.push_back(std::move(tensor));
  return static_cast<int32_t>(plan->tensors.size()) - 1;
}

inline fb::StepT* add_step(fb::PlanT* plan, const std::string& name, const std::string& op, const std::string& kernel,
                           std::vector<int32_t> inputs, std::vector<int32_t> outputs) {
  auto step = std::make_unique<fb::StepT>();
  step->name = name;
  step->op = op;
  step->kernel = kernel;
  step->inputs = std::move(inputs);
  step->outputs = std::move(outputs);
  plan->steps.push_back(std::move(step));
  return plan->steps.back().get();
}

inline std::unique_ptr<fb::PortT> make_port(const std::string& name, std::vector<int64_t> dims) {
  auto port = std::make_unique<fb::PortT>();
  port->name = name;
  port->dims = std::move(dims);
  return port;
}

inline std::vector<uint8_t> bytes_of(const std::vector<float>& values) {
  std::vector<uint8_t> bytes(values.size() * sizeof(float));
  memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

// A small model of the test kernels that uses every place, a channel-pitched concat in place, an in-place step and an absent operand:
//   at load: w = weights * 1; then wide[..., 0:2] = x * w; wide[..., 2:5] = x3 * 2; wide *= 0.5 in place; y = wide + wide
struct SampleModel {
  fb::PlanT plan;
  std::vector<uint8_t> weights = bytes_of({2.0f, 3.0f});
};

inline SampleModel sample_model(int64_t pixels = 6) {
  SampleModel model;
  fb::PlanT& plan = model.plan;
  plan.target = "test";
  plan.arena_bytes = 4096 + static_cast<uint64_t>(pixels) * 5 * 4;
  plan.inputs.push_back(make_port("x", {pixels, 2}));
  plan.inputs.push_back(make_port("x3", {pixels, 3}));
  plan.outputs.push_back(make_port("y", {pixels, 5}));
  const int32_t x = add_tensor(&plan, "x", {pixels, 2}, fb::Place::input, 0, 0);
  const int32_t x3 = add_tensor(&plan, "x3", {pixels, 3}, fb::Place::input, 0, 1);
  const int32_t w = add_tensor(&plan, "w", {pixels, 2}, fb::Place::weights, 0, 0, {0, 1});
  const int32_t left = add_tensor(&plan, "left", {pixels, 2}, fb::Place::arena, 64, 0, {5, 1});
  const int32_t right = add_tensor(&plan, "right", {pixels, 3}, fb::Place::arena, 64 + 8, 0, {5, 1});
  const int32_t wide = add_tensor(&plan, "wide", {pixels, 5}, fb::Place::arena, 64);
  const int32_t y = add_tensor(&plan, "y", {pixels, 5}, fb::Place::output, 0, 0);
  plan.tensors.back()->perm = {0, 1};
  const int32_t made = add_tensor(&plan, "made", {pixels, 2}, fb::Place::prepared, 64);
  plan.prepared_bytes = 64 + static_cast<uint64_t>(pixels) * 2 * 4;
  add_step(&plan, "prepare", "scale_f32f32", "scale_f32f32_portable", {w, -1}, {made})->params = bytes_of({1.0f});
  plan.prepare.swap(plan.steps);
  add_step(&plan, "mul", "mul_f32f32", "mul_f32f32_fast", {x, made}, {left});
  add_step(&plan, "double", "scale_f32f32", "scale_f32f32_portable", {x3, -1}, {right})->params = bytes_of({2.0f});
  add_step(&plan, "halve", "scale_f32f32", "scale_f32f32_portable", {wide, -1}, {wide})->params = bytes_of({0.5f});
  fb::StepT* add = add_step(&plan, "add", "add_f32f32", "add_f32f32_portable", {wide, wide}, {y});
  add->scratch_bytes = 256;
  add->macs = 1 << 20;
  return model;
}

// The sample model for several numbers of pixels; its second plan reads what the first has prepared.
inline std::vector<uint8_t> sample_buckets(const std::vector<int64_t>& pixels) {
  fb::ModelT model;
  std::vector<uint8_t> weights;
  for (const int64_t count : pixels) {
    SampleModel sample = sample_model(count);
    weights = sample.weights;
    model.plans.push_back(std::make_unique<fb::PlanT>(sample.plan));
  }
  return make_file(model, weights);
}

}  // namespace tiercast_test
#endif
