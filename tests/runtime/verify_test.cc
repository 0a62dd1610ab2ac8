// Each rule of the package format, broken once: refused, with a sentence that names the place and the rule.
#include <functional>
#include <vector>

#include "check.h"
#include "package_file.h"
#include "test_kernels.h"
#include "tiercast/tiercast.h"

using tiercast_test::AlignedBytes;
using tiercast_test::Header;
using tiercast_test::make_file;
using tiercast_test::sample_model;
using tiercast_test::SampleModel;
namespace fb = tiercast::fb;

namespace {

tc_status open_bytes(const std::vector<uint8_t>& bytes, tc_error* error) {
  const AlignedBytes file(bytes);
  tc_session* session = nullptr;
  const tc_status status = tc_session_open_memory(file.bytes.get(), file.size, tiercast_test::test_library(), nullptr, &session, error);
  tc_session_close(session);
  return status;
}

void expect_refused(const std::vector<uint8_t>& bytes, const char* part) {
  tc_error error = {TC_OK, {0}};
  CHECK(open_bytes(bytes, &error) == TC_ERROR_PACKAGE);
  CHECK_CONTAINS(error.message, part);
}

// The sample model with one thing changed, checksums right.
void refuse_plan(const char* part, const std::function<void(fb::PlanT&)>& change) {
  SampleModel model = sample_model();
  change(model.plan);
  expect_refused(make_file(model.plan, model.weights), part);
}

// The sample file with one header field changed, checksums right.
void refuse_header(const char* part, const std::function<void(Header&)>& change) {
  const SampleModel model = sample_model();
  std::vector<uint8_t> file = make_file(model.plan, model.weights);
  Header header;
  memcpy(&header, file.data(), sizeof(header));
  change(header);
  memcpy(file.data(), &header, sizeof(header));
  tiercast_test::fix_checksums(&file);
  expect_refused(file, part);
}

// The sample model in buckets of 6 and 4 pixels, the second changed.
void refuse_buckets(const char* part, const std::function<void(fb::ModelT&)>& change) {
  fb::ModelT model;
  for (const int64_t pixels : {6, 4}) model.plans.push_back(std::make_unique<fb::PlanT>(sample_model(pixels).plan));
  const std::vector<uint8_t> weights = sample_model().weights;
  tc_error error = {TC_OK, {0}};
  CHECK(open_bytes(make_file(model, weights), &error) == TC_OK);
  change(model);
  expect_refused(make_file(model, weights), part);
}

void test_buckets() {
  refuse_buckets("0 plans; there must be 1 to 64", [](fb::ModelT& m) { m.plans.clear(); });
  refuse_buckets("65 plans", [](fb::ModelT& m) {
    while (m.plans.size() < 65) m.plans.push_back(std::make_unique<fb::PlanT>(*m.plans[0]));
  });
  refuse_buckets("buckets 0 and 1 take the same input shapes", [](fb::ModelT& m) { *m.plans[1] = *m.plans[0]; });
  refuse_buckets("bucket 1: its inputs or outputs differ", [](fb::ModelT& m) { m.plans[1]->inputs[0]->name = "z"; });
  refuse_buckets("bucket 1: its inputs or outputs differ", [](fb::ModelT& m) { m.plans[1]->outputs[0]->name = "z"; });
  refuse_buckets("bucket 1: its inputs or outputs differ",
                 [](fb::ModelT& m) { m.plans[1]->inputs.push_back(tiercast_test::make_port("more", {1})); });
  refuse_buckets("bucket 1 tensor 3 \"left\": dims", [](fb::ModelT& m) { m.plans[1]->arena_bytes = 70; });
  refuse_buckets("bucket 0 tensor 2 \"w\": unknown dtype",
                 [](fb::ModelT& m) { m.plans[0]->tensors[2]->dtype = static_cast<fb::DType>(99); });
}

void test_header() {
  refuse_header("not a Tiercast package", [](Header& h) { h.magic[7] = 'X'; });
  refuse_header("format version 1; this runtime reads version 2: compile the model again", [](Header& h) { h.version = 1; });
  refuse_header("format version 3", [](Header& h) { h.version = 3; });
  refuse_header("reserved field is 9", [](Header& h) { h.reserved = 9; });
  refuse_header("plan at byte 128", [](Header& h) { h.plan_offset = 128; });
  refuse_header("plan of 18446744073709551615 bytes", [](Header& h) { h.plan_bytes = UINT64_MAX; });
  refuse_header("between plan and weights are not 0", [](Header& h) { h.plan_bytes = 12; });
  refuse_header("must begin after the plan", [](Header& h) { h.weights_offset = 0; });
  refuse_header("must begin after the plan", [](Header& h) { h.weights_bytes = UINT64_MAX - 100; });
  refuse_header("must begin after the plan", [](Header& h) { h.weights_bytes -= 4; });
  refuse_header("must be a multiple of 16384", [](Header& h) { h.weights_offset -= 4, h.weights_bytes += 4; });
}

void test_checksums() {
  const SampleModel model = sample_model();
  const std::vector<uint8_t> good = make_file(model.plan, model.weights);
  tc_error error;
  CHECK(open_bytes(good, &error) == TC_OK);
  for (size_t bit = 0; bit < good.size() * 8; bit += bit < 64 * 8 ? 1 : 101) {
    std::vector<uint8_t> flipped = good;
    flipped[bit / 8] = static_cast<uint8_t>(flipped[bit / 8] ^ (1u << (bit % 8)));
    CHECK(open_bytes(flipped, &error) == TC_ERROR_PACKAGE);
  }
  std::vector<uint8_t> foreign = good;
  foreign[64 + 4] = 'X';  // the FlatBuffers identifier
  tiercast_test::fix_checksums(&foreign);
  expect_refused(foreign, "is not a valid FlatBuffer with identifier TCPK");
  std::vector<uint8_t> longer = good;
  longer.push_back(0);
  tiercast_test::fix_checksums(&longer);
  expect_refused(longer, "end with the file");
  std::vector<uint8_t> unclean = good;
  unclean[16383] = 1;
  tiercast_test::fix_checksums(&unclean);
  expect_refused(unclean, "between plan and weights are not 0");
}

void test_ports() {
  refuse_plan("must be an output", [](fb::PlanT& p) { p.outputs.clear(); });
  refuse_plan("input 0 \"x\": unknown dtype 77", [](fb::PlanT& p) { p.inputs[0]->dtype = static_cast<fb::DType>(77); });
  // An empty port has no bytes that a tensor could lie in.
  refuse_plan("reach beyond the 0 bytes of their place (output 0)", [](fb::PlanT& p) { p.outputs[0]->dims = {6, 0}; });
  refuse_plan("reach beyond the 0 bytes of their place (input 1)", [](fb::PlanT& p) { p.inputs[1]->dims = {0, 3}; });
  refuse_plan("input 1 \"x3\"", [](fb::PlanT& p) { p.inputs[1]->dims = {0, int64_t{1} << 31}; });
  refuse_plan("input 1 \"x3\": dims -6x3", [](fb::PlanT& p) { p.inputs[1]->dims = {-6, 3}; });
  refuse_plan("input 1 \"x3\"", [](fb::PlanT& p) { p.inputs[1]->dims = {1 << 30, 1 << 30, 1 << 30}; });
  refuse_plan("input 1 \"x3\"", [](fb::PlanT& p) { p.inputs[1]->dims = std::vector<int64_t>(9, 1); });
  refuse_plan("cores is 3", [](fb::PlanT& p) { p.cores = static_cast<fb::Cores>(3); });
  refuse_plan("max_threads 65", [](fb::PlanT& p) { p.max_threads = 65; });
  refuse_plan("arena of", [](fb::PlanT& p) { p.arena_bytes = (uint64_t{1} << 36) + 1; });
  refuse_plan("bytes of prepared constants", [](fb::PlanT& p) { p.prepared_bytes = (uint64_t{1} << 36) + 1; });
}

void test_tensors() {
  refuse_plan("tensor 2 \"w\": unknown dtype 200", [](fb::PlanT& p) { p.tensors[2]->dtype = static_cast<fb::DType>(200); });
  refuse_plan("tensor 0 \"x\": rank 2 with 1 strides", [](fb::PlanT& p) { p.tensors[0]->strides.pop_back(); });
  refuse_plan("rank 9", [](fb::PlanT& p) { p.tensors[0]->dims = p.tensors[0]->strides = std::vector<int64_t>(9, 1); });
  refuse_plan("tensor 0 \"x\": lives in place 9", [](fb::PlanT& p) { p.tensors[0]->place = static_cast<fb::Place>(9); });
  refuse_plan("lives in place 2 number 2, which does not exist", [](fb::PlanT& p) { p.tensors[0]->index = 2; });
  refuse_plan("offset 2 is not a multiple", [](fb::PlanT& p) { p.tensors[0]->offset = 2; });
  refuse_plan("reach beyond the 48 bytes of their place (input 0)", [](fb::PlanT& p) { p.tensors[0]->offset = 4; });
  refuse_plan("reach beyond the 8 bytes of their place (weights 0)", [](fb::PlanT& p) { p.tensors[2]->strides = {1, 1}; });
  refuse_plan("reach beyond", [](fb::PlanT& p) { p.tensors[5]->offset = UINT64_MAX - 3; });
  refuse_plan("reach beyond", [](fb::PlanT& p) { p.tensors[0]->dims = p.tensors[0]->strides = std::vector<int64_t>(8, 1 << 30); });
  refuse_plan("dim 0 is 0", [](fb::PlanT& p) { p.tensors[3]->dims[0] = 0; });
  refuse_plan("dim 0 is -9223372036854775808", [](fb::PlanT& p) { p.tensors[3]->dims[0] = INT64_MIN; });
  refuse_plan("dim 1 is 2 with stride -1", [](fb::PlanT& p) { p.tensors[3]->strides[1] = -1; });
  refuse_plan("stride 9223372036854775807", [](fb::PlanT& p) { p.tensors[3]->strides[1] = INT64_MAX; });
  // Strides of 0 make any number of elements; the limit keeps a kernel's products in range.
  refuse_plan("reach beyond", [](fb::PlanT& p) { p.tensors[2]->dims = {1 << 21, 1 << 21}, p.tensors[2]->strides = {0, 0}; });
  refuse_plan("is not a permutation", [](fb::PlanT& p) { p.tensors[6]->perm = {0, 0}; });
  refuse_plan("is not a permutation", [](fb::PlanT& p) { p.tensors[6]->perm = {0, 2}; });
  refuse_plan("is not a permutation", [](fb::PlanT& p) { p.tensors[6]->perm = {0, 1, 2}; });
}

void test_steps() {
  refuse_plan("step 0 \"mul\" (mul_f32f32): input 1 is tensor 8; the plan has 8", [](fb::PlanT& p) { p.steps[0]->inputs[1] = 8; });
  refuse_plan("input 0 is tensor -2", [](fb::PlanT& p) { p.steps[0]->inputs[0] = -2; });
  refuse_plan("output 0 is tensor -1", [](fb::PlanT& p) { p.steps[0]->outputs[0] = -1; });
  refuse_plan("at least one output", [](fb::PlanT& p) { p.steps[0]->outputs.clear(); });
  refuse_plan("257 inputs", [](fb::PlanT& p) { p.steps[0]->inputs.assign(257, 0); });
  refuse_plan("bytes of params", [](fb::PlanT& p) { p.steps[0]->params.assign((1 << 20) + 4, 0); });
  refuse_plan("bytes of scratch", [](fb::PlanT& p) { p.steps[0]->scratch_bytes = UINT64_MAX; });
  refuse_plan("writes \"w\", which lives among the weights", [](fb::PlanT& p) { p.steps[0]->outputs[0] = 2; });
  refuse_plan("writes \"x\", which lives among the input", [](fb::PlanT& p) { p.steps[0]->outputs[0] = 0; });
  refuse_plan("whose elements overlap each other", [](fb::PlanT& p) { p.tensors[3]->strides = {1, 1}; });
  refuse_plan("step 2 \"halve\" (scale_f32f32): writes \"left\"", [](fb::PlanT& p) { p.steps[2]->outputs[0] = 3; });
  refuse_plan("over \"wide\", which it reads", [](fb::PlanT& p) { p.steps[2]->outputs[0] = 3; });
  refuse_plan("writes \"made\", which lives among the prepared", [](fb::PlanT& p) { p.steps[0]->outputs[0] = 7; });
  refuse_plan("prepare step 0 \"prepare\" (scale_f32f32): writes \"left\", which lives among the arena",
              [](fb::PlanT& p) { p.prepare[0]->outputs[0] = 3; });
  refuse_plan("prepare step 0 \"prepare\" (scale_f32f32): reads \"x\", which lives in the input",
              [](fb::PlanT& p) { p.prepare[0]->inputs[0] = 0; });
  refuse_plan("prepare step 0 \"prepare\" (scale_f32f32): reads \"wide\"", [](fb::PlanT& p) { p.prepare[0]->inputs[0] = 5; });
  refuse_plan("prepare step 0 \"prepare\" (scale_f32f32): output 0 is tensor 8", [](fb::PlanT& p) { p.prepare[0]->outputs[0] = 8; });
  refuse_plan("reach beyond the 112 bytes of their place (prepared 0)", [](fb::PlanT& p) { p.tensors[7]->offset = 68; });
  refuse_plan("over \"left\", which it writes", [](fb::PlanT& p) { p.steps[0]->outputs = {3, 3}; });
}

// 8-byte numbers at an odd place of a plan that is a valid FlatBuffer otherwise: ARM faults on them.
void test_alignment() {
  const SampleModel model = sample_model();
  const std::vector<uint8_t> good = make_file(model.plan, model.weights);
  Header header;
  memcpy(&header, good.data(), sizeof(header));
  int refused = 0;
  for (size_t at = 64; at + 24 <= 64 + header.plan_bytes; at += 4) {
    // Every offset of the plan is tried 4 bytes on or back, where a vector of two numbers may be found by accident or not at all.
    for (int step : {-4, 4}) {
      std::vector<uint8_t> file = good;
      uint32_t offset;
      memcpy(&offset, file.data() + at, sizeof(offset));
      offset += static_cast<uint32_t>(step);
      memcpy(file.data() + at, &offset, sizeof(offset));
      tiercast_test::fix_checksums(&file);
      tc_error error = {TC_OK, {0}};
      open_bytes(file, &error);
      refused += strstr(error.message, "not 8-byte aligned") != nullptr ? 1 : 0;
    }
  }
  CHECK(refused > 0);
}

// Interleaved channels of one buffer may be read and written by one step; they do not overlap.
void test_channel_split() {
  SampleModel model = sample_model();
  model.plan.steps[1]->inputs[0] = tiercast_test::add_tensor(&model.plan, "left3", {6, 2}, fb::Place::arena, 64, 0, {5, 1});
  model.plan.steps[1]->outputs[0] = tiercast_test::add_tensor(&model.plan, "right2", {6, 2}, fb::Place::arena, 72, 0, {5, 1});
  tc_error error = {TC_OK, {0}};
  CHECK(open_bytes(make_file(model.plan, model.weights), &error) == TC_OK);
  model.plan.tensors.back()->offset = 68;
  expect_refused(make_file(model.plan, model.weights), "over \"left3\", which it reads");
}

}  // namespace

int main() {
  test_header();
  test_buckets();
  test_checksums();
  test_ports();
  test_tensors();
  test_steps();
  test_channel_split();
  test_alignment();
  return test_result();
}
