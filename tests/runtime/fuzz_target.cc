#include "fuzz_target.h"

#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <vector>

#include "package_file.h"
#include "test_kernels.h"
#include "tiercast/library.h"
#include "tiercast/tiercast.hpp"

namespace tiercast_test {
namespace {

constexpr uint64_t kMemoryLimitBytes = uint64_t{256} << 20;

constexpr int32_t kMostBuckets = 4;  // run of each package

sigjmp_buf too_slow;

void on_alarm(int) { siglongjmp(too_slow, 1); }

// Exactly `port.bytes` bytes each, so that a step outside is seen.
std::vector<AlignedBytes> make_buffers(const tc_session* session, int32_t count, const tc_port* (*port)(const tc_session*, int32_t),
                                       std::vector<tc_buffer>* buffers) {
  std::vector<AlignedBytes> memory;
  for (int32_t i = 0; i < count; ++i) {
    const uint64_t bytes = port(session, i)->bytes;
    memory.emplace_back(std::vector<uint8_t>(bytes, 0x3f));
    buffers->push_back({memory.back().bytes.get(), bytes});
  }
  return memory;
}

uint64_t total_port_bytes(const tc_session* session) {
  uint64_t bytes = 0;
  for (int32_t i = 0; i < tc_session_input_count(session); ++i) bytes += tc_session_input(session, i)->bytes;
  for (int32_t i = 0; i < tc_session_output_count(session); ++i) bytes += tc_session_output(session, i)->bytes;
  return bytes;
}

void run_session(tc_session* session, FuzzOutcome* outcome) {
  if (total_port_bytes(session) > kMemoryLimitBytes) return;
  std::vector<tc_buffer> inputs, outputs;
  const auto input_memory = make_buffers(session, tc_session_input_count(session), tc_session_input, &inputs);
  const auto output_memory = make_buffers(session, tc_session_output_count(session), tc_session_output, &outputs);
  tc_error error = {TC_OK, {0}};
  signal(SIGALRM, on_alarm);
  if (sigsetjmp(too_slow, 1) != 0) {  // from inside a kernel, which holds nothing: one thread, no allocation
    outcome->slow = true;
    return;
  }
  alarm(kSlowSeconds);
  outcome->ran |= tc_session_run(session, inputs.data(), static_cast<int32_t>(inputs.size()), outputs.data(),
                                 static_cast<int32_t>(outputs.size()), &error) == TC_OK;
  alarm(0);
}

}  // namespace

const tc_library* fuzz_library() {
  static std::vector<const tc_kernel*> kernels;
  static tc_library library = {nullptr, 0, "fuzz"};
  if (kernels.empty()) {
    for (const tc_library* part : {tc_library_full(), test_library()})
      kernels.insert(kernels.end(), part->kernels, part->kernels + part->count);
    library.kernels = kernels.data();
    library.count = static_cast<int64_t>(kernels.size());
  }
  return &library;
}

FuzzOutcome fuzz_package(const uint8_t* bytes, size_t size) {
  FuzzOutcome outcome;
  const AlignedBytes file(std::vector<uint8_t>(bytes, bytes + size));
  tc_options options = tc_options_default();
  options.memory_limit_bytes = kMemoryLimitBytes;
  tc_session* session = nullptr;
  tc_error error = {TC_OK, {0}};
  outcome.status = tc_session_open_memory(file.bytes.get(), file.size, fuzz_library(), &options, &session, &error);
  for (int32_t i = 0; session != nullptr && !outcome.slow && i < tc_session_bucket_count(session) && i < kMostBuckets; ++i)
    if (tc_session_select(session, i, &error) == TC_OK) run_session(session, &outcome);
  memcpy(outcome.message, error.message, sizeof(outcome.message));
  tc_session_close(session);
  return outcome;
}

}  // namespace tiercast_test

#ifdef TIERCAST_LIBFUZZER
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  std::vector<uint8_t> file(bytes, bytes + size);
  tiercast_test::fix_checksums(&file);
  tiercast_test::fuzz_package(file.data(), file.size());
  return 0;
}
#endif
