// A whole session on the sample model: numbers, binding, threads, observer, and every refusal a caller can provoke.
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "check.h"
#include "package_file.h"
#include "test_kernels.h"
#include "tiercast/cpu.h"
#include "tiercast/tiercast.hpp"

using tiercast::Session;
using tiercast_test::AlignedBytes;
using tiercast_test::make_file;
using tiercast_test::sample_model;
using tiercast_test::SampleModel;
using tiercast_test::test_library;

namespace {

struct Observed {
  std::vector<std::vector<float>> outputs;
  double microseconds = 0;
};

void observe(void* user, int64_t step, const tc_view* outputs, int32_t output_count, double microseconds) {
  auto& observed = *static_cast<Observed*>(user);
  CHECK(step == static_cast<int64_t>(observed.outputs.size()) && output_count == 1);
  std::vector<float> dense(tc_view_dense_bytes(&outputs[0]) / sizeof(float));
  tc_view_copy_dense(&outputs[0], dense.data());
  observed.outputs.push_back(dense);
  observed.microseconds += microseconds;
}

// The sample model's y for x[p][c] = p + c and x3[p][c] = 10 p + c.
float expected_y(int64_t pixel, int64_t channel) {
  const auto p = static_cast<float>(pixel), c = static_cast<float>(channel);
  return channel < 2 ? (p + c) * (channel == 0 ? 2.0f : 3.0f) : (10 * p + c - 2) * 2.0f;
}

struct Buffers {
  std::vector<float> x, x3, y;
  tc_buffer inputs[2], output;

  explicit Buffers(int64_t pixels)
      : x(static_cast<size_t>(pixels) * 2), x3(static_cast<size_t>(pixels) * 3), y(static_cast<size_t>(pixels) * 5, -1.0f) {
    for (int64_t p = 0; p < pixels; ++p) {
      for (int64_t c = 0; c < 2; ++c) x[static_cast<size_t>(p * 2 + c)] = static_cast<float>(p + c);
      for (int64_t c = 0; c < 3; ++c) x3[static_cast<size_t>(p * 3 + c)] = static_cast<float>(10 * p + c);
    }
    inputs[0] = {x.data(), x.size() * sizeof(float)};
    inputs[1] = {x3.data(), x3.size() * sizeof(float)};
    output = {y.data(), y.size() * sizeof(float)};
  }
};

void test_numbers(int64_t pixels, int32_t threads) {
  const SampleModel model = sample_model(pixels);
  const AlignedBytes file(make_file(model.plan, model.weights));
  tc_options options = tc_options_default();
  options.threads = threads;
  Session session;
  tiercast::Error error;
  CHECK(session.open(file.bytes.get(), file.size, test_library(), options, &error) == TC_OK);
  if (!session) {
    fprintf(stderr, "%s\n", error.message);
    return;
  }
  Buffers buffers(pixels);
  for (int repeat = 0; repeat < 3; ++repeat) {
    CHECK(session.run(buffers.inputs, 2, &buffers.output, 1, &error) == TC_OK);
    bool right = true;
    for (int64_t p = 0; p < pixels; ++p)
      for (int64_t c = 0; c < 5; ++c) right = right && buffers.y[static_cast<size_t>(p * 5 + c)] == expected_y(p, c);
    CHECK(right);
  }
  Observed observed;
  tc_session_set_observer(session.get(), observe, &observed);
  CHECK(session.run(buffers.inputs, 2, &buffers.output, 1, &error) == TC_OK);
  CHECK(observed.outputs.size() == 4 && observed.microseconds > 0);
  CHECK(observed.outputs[1].size() == static_cast<size_t>(pixels) * 3 &&
        observed.outputs[1].back() == expected_y(pixels - 1, 4));  // dense copy of a pitched view
  CHECK(observed.outputs[3] == buffers.y);
}

void test_facts() {
  const SampleModel model = sample_model();
  const AlignedBytes file(make_file(model.plan, model.weights));
  tc_options options = tc_options_default();
  options.threads = 3;
  Session session;
  tiercast::Error error;
  CHECK(session.open(file.bytes.get(), file.size, test_library(), options, &error) == TC_OK);
  CHECK(session.input_count() == 2 && session.output_count() == 1 && session.step_count() == 4);
  CHECK(strcmp(session.input(1).name, "x3") == 0 && session.input(1).rank == 2 && session.input(1).dims[1] == 3 &&
        session.input(1).bytes == 72);
  CHECK(tc_session_input(session.get(), 2) == nullptr && tc_session_output(session.get(), -1) == nullptr);
  CHECK(strcmp(session.step(0).chosen, "mul_f32f32_fast") == 0);
  CHECK(strcmp(session.step(0).kernel, "mul_f32f32_portable") == 0);  // no CPU has all features: the next row is bound, and told
  CHECK(session.step(3).macs == 1 << 20 && session.step(3).work_items == 30);
  tc_step_info info;
  CHECK(tc_session_prepare_count(session.get()) == 1 && tc_session_prepare_step(session.get(), 0, &info) == TC_OK);
  CHECK(strcmp(info.kernel, "scale_f32f32_portable") == 0 && tc_session_prepare_step(session.get(), 1, &info) == TC_ERROR_ARGUMENT);
  CHECK(tc_session_step(session.get(), 4, &info) == TC_ERROR_ARGUMENT && tc_session_step(session.get(), -1, &info) == TC_ERROR_ARGUMENT);
  CHECK(tc_session_arena_bytes(session.get()) == model.plan.arena_bytes);
  CHECK(tc_session_prepared_bytes(session.get()) == model.plan.prepared_bytes);
  CHECK(tc_session_weights_bytes(session.get()) == 8 && tc_session_scratch_bytes(session.get()) == 3 * 256);
}

// As many threads as the package's target asks for, on the cores it asks for.
void test_package_threads() {
  SampleModel model = sample_model(5000);
  model.plan.cores = tiercast::fb::Cores::big;
  model.plan.max_threads = 1;
  const AlignedBytes file(make_file(model.plan, model.weights));
  tc_options options = tc_options_default();
  options.threads = 0;
  Session session;
  tiercast::Error error;
  CHECK(session.open(file.bytes.get(), file.size, test_library(), options, &error) == TC_OK);
  CHECK(tc_session_threads(session.get()) == 1);
  CHECK(tc_session_pin_caller(session.get(), &error) == TC_OK);
  options.threads = 3;
  options.cores = TC_CORES_LITTLE;
  CHECK(session.open(file.bytes.get(), file.size, test_library(), options, &error) == TC_OK);
  CHECK(tc_session_threads(session.get()) == 3);
  Buffers buffers(5000);
  CHECK(session.run(buffers.inputs, 2, &buffers.output, 1, &error) == TC_OK);
  CHECK(buffers.y.back() == expected_y(4999, 4));
  options.cores = static_cast<tc_cores>(4);
  CHECK(session.open(file.bytes.get(), file.size, test_library(), options, &error) == TC_ERROR_ARGUMENT);
  CHECK_CONTAINS(error.message, "cores is 4");
}

// Opens the model, expecting `status` and `part` in the message.
void expect_refusal(const SampleModel& model, tc_options options, tc_status status, const char* part) {
  const AlignedBytes file(make_file(model.plan, model.weights));
  Session session;
  tiercast::Error error;
  CHECK(session.open(file.bytes.get(), file.size, test_library(), options, &error) == status);
  CHECK(!session && error.status == status);
  CHECK_CONTAINS(error.message, part);
}

void test_binding_refusals() {
  SampleModel model = sample_model();
  model.plan.steps[1]->params = {1, 2, 3};
  expect_refusal(model, tc_options_default(), TC_ERROR_KERNEL, "step 1 \"double\" (scale_f32f32): no kernel can do it:");
  expect_refusal(model, tc_options_default(), TC_ERROR_KERNEL, "scale_f32f32_portable: params must be one f32");
  model = sample_model();
  model.plan.steps[2]->op = "conv2d_f32f32";
  expect_refusal(model, tc_options_default(), TC_ERROR_KERNEL, "the library for test has no kernel of this op");
  model = sample_model();
  model.plan.steps[0]->inputs[1] = -1;
  expect_refusal(model, tc_options_default(), TC_ERROR_KERNEL, "mul_f32f32_fast: needs");
  expect_refusal(model, tc_options_default(), TC_ERROR_KERNEL, "mul_f32f32_portable: no input may be absent");
  model = sample_model();
  model.plan.steps[3]->outputs = model.plan.steps[2]->outputs;
  expect_refusal(model, tc_options_default(), TC_ERROR_KERNEL, "add_f32f32_portable: does not work in place");
  model = sample_model();
  model.plan.steps[3]->scratch_bytes = 128;
  expect_refusal(model, tc_options_default(), TC_ERROR_KERNEL, "scratch must be at least");
  model = sample_model();
  model.plan.prepare[0]->params = {1};
  expect_refusal(model, tc_options_default(), TC_ERROR_KERNEL, "prepare step 0 \"prepare\" (scale_f32f32): no kernel can do it:");
}

void test_joined_libraries() {
  const tc_library& whole = *test_library();
  const tc_library first = {whole.kernels, 2, "first"}, more = {whole.kernels + 2, whole.count - 2, "more"};
  const tc_kernel* rows[16] = {};
  tc_library joined = {};
  tiercast::Error error;
  CHECK(tc_library_join(&first, &more, rows, 16, &joined, &error) == TC_OK);
  CHECK(joined.count == whole.count && strcmp(joined.target, "first") == 0);
  for (int64_t i = 0; i < whole.count; ++i) CHECK(joined.kernels[i] == whole.kernels[i]);
  const SampleModel model = sample_model();
  const AlignedBytes file(make_file(model.plan, model.weights));
  Session session;
  CHECK(session.open(file.bytes.get(), file.size, &joined, tc_options_default(), &error) == TC_OK);
  CHECK(tc_library_join(&whole, &more, rows, 16, &joined, &error) == TC_ERROR_ARGUMENT);
  CHECK_CONTAINS(error.message, more.kernels[0]->name);
  CHECK(tc_library_join(&first, &more, rows, whole.count - 1, &joined, &error) == TC_ERROR_ARGUMENT);
  CHECK_CONTAINS(error.message, "do not fit");
  CHECK(tc_library_join(&first, nullptr, rows, 16, &joined, &error) == TC_ERROR_ARGUMENT);
}

void test_option_refusals() {
  tc_options options = tc_options_default();
  options.memory_limit_bytes = 1000;
  expect_refusal(sample_model(), options, TC_ERROR_MEMORY, "memory_limit_bytes is 1000");
  for (int32_t threads : {-1, 65}) {
    options = tc_options_default();
    options.threads = threads;
    expect_refusal(sample_model(), options, TC_ERROR_ARGUMENT, "must be 1 to 64");
  }
  tc_error error;
  tc_session* session = nullptr;
  CHECK(tc_session_open(nullptr, test_library(), nullptr, &session, &error) == TC_ERROR_ARGUMENT);
  CHECK(tc_session_open("x", nullptr, nullptr, &session, &error) == TC_ERROR_ARGUMENT);
  CHECK(tc_session_open("x", test_library(), nullptr, nullptr, nullptr) == TC_ERROR_ARGUMENT);
  CHECK(tc_session_open_memory(&error.message[1], 100, test_library(), nullptr, &session, &error) == TC_ERROR_ARGUMENT);
  tc_session_close(nullptr);
}

void test_buffer_refusals() {
  const SampleModel model = sample_model();
  const AlignedBytes file(make_file(model.plan, model.weights));
  Session session;
  tiercast::Error error;
  CHECK(session.open(file.bytes.get(), file.size, test_library(), tc_options_default(), &error) == TC_OK);
  Buffers good(6);
  const auto refused = [&](const tc_buffer* inputs, int32_t input_count, const tc_buffer* outputs, int32_t output_count, const char* part) {
    CHECK(session.run(inputs, input_count, outputs, output_count, &error) == TC_ERROR_ARGUMENT);
    CHECK_CONTAINS(error.message, part);
    CHECK(good.y[0] == -1.0f);
  };
  refused(good.inputs, 1, &good.output, 1, "1 input buffers given; it has 2");
  refused(nullptr, 2, &good.output, 1, "0 input buffers given; it has 2");
  refused(good.inputs, 2, &good.output, 0, "0 output buffers given; it has 1");
  tc_buffer inputs[2] = {good.inputs[0], {good.inputs[1].data, 71}};
  refused(inputs, 2, &good.output, 1, "input 1 \"x3\" takes 72 bytes; 71 given");
  inputs[1] = {nullptr, 72};
  refused(inputs, 2, &good.output, 1, "at NULL");
  inputs[1] = {reinterpret_cast<char*>(good.x3.data()) + 1, 72};
  refused(inputs, 2, &good.output, 1, "not aligned to its 4-byte elements");
  tc_buffer output = {good.x.data(), 120};
  refused(good.inputs, 2, &output, 1, "\"y\" and input \"x\" overlap");
}

// Ports of 0 bytes, which no tensor lives in, need no memory.
void test_empty_ports() {
  SampleModel model = sample_model();
  model.plan.inputs.push_back(tiercast_test::make_port("none", {0, 4}));
  model.plan.outputs.push_back(tiercast_test::make_port("nothing", {2, 0}));
  const AlignedBytes file(make_file(model.plan, model.weights));
  Session session;
  tiercast::Error error;
  CHECK(session.open(file.bytes.get(), file.size, test_library(), tc_options_default(), &error) == TC_OK);
  Buffers buffers(6);
  const tc_buffer inputs[3] = {buffers.inputs[0], buffers.inputs[1], {nullptr, 0}}, outputs[2] = {buffers.output, {nullptr, 0}};
  CHECK(session.run(inputs, 3, outputs, 2, &error) == TC_OK);
  CHECK(buffers.y[29] == expected_y(5, 4));
  const tc_buffer inside[2] = {buffers.output, {buffers.y.data() + 1, 0}};  // no byte of it is shared
  CHECK(session.run(inputs, 3, inside, 2, &error) == TC_OK);
  const tc_buffer more[2] = {buffers.output, {buffers.y.data(), 4}};
  CHECK(session.run(inputs, 3, more, 2, &error) == TC_ERROR_ARGUMENT);
  CHECK_CONTAINS(error.message, "output 1 \"nothing\" takes 0 bytes; 4 given");
}

void write_bytes(const std::string& path, const std::vector<uint8_t>& bytes) {
  FILE* file = fopen(path.c_str(), "wb");
  CHECK(file != nullptr && fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size());
  if (file != nullptr) fclose(file);
}

void expect_file(const std::string& path, tc_status status, const char* part) {
  tc_error error = {TC_OK, {0}};
  CHECK(tc_package_check(path.c_str(), &error) == status);
  if (status != TC_OK) CHECK_CONTAINS(error.message, part);
}

void test_files() {
  char folder[] = "/tmp/tiercast_session_XXXXXX";
  CHECK(mkdtemp(folder) != nullptr);
  const std::string dir = folder, path = dir + "/a.tcpkg";
  const SampleModel model = sample_model();
  std::vector<uint8_t> bytes = make_file(model.plan, model.weights);
  write_bytes(path, bytes);
  expect_file(path, TC_OK, "");
  Session session;
  tiercast::Error error;
  CHECK(session.open(path.c_str(), test_library(), tc_options_default(), &error) == TC_OK);
  Buffers buffers(6);
  CHECK(session.run(buffers.inputs, 2, &buffers.output, 1, &error) == TC_OK && buffers.y[7] == expected_y(1, 2));
  expect_file(dir + "/none", TC_ERROR_IO, "cannot be opened: No such file");
  expect_file(dir, TC_ERROR_IO, "not a file but a directory");
  expect_file("/dev/zero", TC_ERROR_IO, "not a file");
  const std::string fifo = dir + "/fifo", empty = dir + "/empty", text = dir + "/text", part = dir + "/part";
  CHECK(mkfifo(fifo.c_str(), 0600) == 0);
  expect_file(fifo, TC_ERROR_IO, "not a file");
  write_bytes(empty, {});
  expect_file(empty, TC_ERROR_PACKAGE, "the file is empty");
  write_bytes(text, std::vector<uint8_t>(200, 'a'));
  expect_file(text, TC_ERROR_PACKAGE, "not a Tiercast package");
  for (size_t size = 1; size < bytes.size(); size += size < 100 ? 1 : 211) {
    write_bytes(part, {bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)});
    expect_file(part, TC_ERROR_PACKAGE, "package ");
  }
  if (geteuid() != 0) {  // root may read everything
    CHECK(chmod(path.c_str(), 0) == 0);
    expect_file(path, TC_ERROR_IO, "cannot be opened: Permission denied");
  }
  for (const std::string& name : {path, fifo, empty, text, part}) unlink(name.c_str());
  rmdir(folder);
}

// Buckets of 6, 20 and 12 pixels: each computes its own, in any order, and the arena is the largest one's.
void test_buckets() {
  const AlignedBytes file(tiercast_test::sample_buckets({6, 20, 12}));
  Session session;
  tiercast::Error error;
  CHECK(session.open(file.bytes.get(), file.size, test_library(), tc_options_default(), &error) == TC_OK);
  CHECK(session.bucket_count() == 3 && session.bucket() == 0 && session.input(0).dims[0] == 6);
  CHECK(tc_session_arena_bytes(session.get()) == sample_model(20).plan.arena_bytes);
  CHECK(tc_session_prepared_bytes(session.get()) == sample_model(20).plan.prepared_bytes);
  const tc_port* kept = &session.input(0);
  int32_t expected_bucket = 0;
  for (const int64_t pixels : {6, 20, 12, 20, 6}) {
    const tc_shape shapes[] = {{2, {pixels, 2}}, {2, {pixels, 3}}};
    CHECK(session.resize(shapes, 2, &error) == TC_OK);
    expected_bucket = pixels == 6 ? 0 : pixels == 20 ? 1 : 2;
    CHECK(session.bucket() == expected_bucket && session.output(0).dims[0] == pixels);
    Buffers buffers(pixels);
    CHECK(session.run(buffers.inputs, 2, &buffers.output, 1, &error) == TC_OK);
    for (int64_t p = 0; p < pixels; ++p)
      for (int64_t c = 0; c < 5; ++c) CHECK(buffers.y[static_cast<size_t>(p * 5 + c)] == expected_y(p, c));
  }
  CHECK(kept->dims[0] == 6);  // ports stay valid whatever is selected

  const tc_shape none[] = {{2, {7, 2}}, {2, {7, 3}}}, mixed[] = {{2, {6, 2}}, {2, {20, 3}}}, odd[] = {{99, {6}}, {-1, {}}};
  CHECK(session.select(2, &error) == TC_OK);
  CHECK(session.resize(none, 2, &error) == TC_ERROR_ARGUMENT);
  CHECK_CONTAINS(error.message, "no bucket takes x 7x2 x3 7x3; shapes must match exactly, nothing is padded; its buckets:");
  CHECK_CONTAINS(error.message, "1: x 20x2 x3 20x3");
  CHECK(session.resize(mixed, 2, &error) == TC_ERROR_ARGUMENT && session.resize(odd, 2, &error) == TC_ERROR_ARGUMENT);
  CHECK(session.resize(none, 1, &error) == TC_ERROR_ARGUMENT && session.resize(nullptr, 2, &error) == TC_ERROR_ARGUMENT);
  for (const int32_t number : {-1, 3, INT32_MAX}) CHECK(session.select(number, &error) == TC_ERROR_ARGUMENT);
  CHECK_CONTAINS(error.message, "there is no bucket 2147483647; it has 3");
  CHECK(session.bucket() == 2);  // a refusal leaves the selection
  Buffers wrong(6);
  CHECK(session.run(wrong.inputs, 2, &wrong.output, 1, &error) == TC_ERROR_ARGUMENT);
  CHECK_CONTAINS(error.message, "bucket 2: input 0 \"x\" takes 96 bytes; 48 given");
}

}  // namespace

int main() {
  test_package_threads();
  for (int32_t threads : {1, 2, 5}) {
    test_numbers(6, threads);
    test_numbers(1, threads);
    test_numbers(5000, threads);
  }
  test_facts();
  test_binding_refusals();
  test_joined_libraries();
  test_option_refusals();
  test_buffer_refusals();
  test_empty_ports();
  test_files();
  test_buckets();
  return test_result();
}
