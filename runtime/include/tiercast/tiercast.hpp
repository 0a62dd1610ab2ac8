// A thin C++ face of tiercast.h: RAII, nothing else. Header only, C++17, no exceptions.
#ifndef TIERCAST_TIERCAST_HPP_
#define TIERCAST_TIERCAST_HPP_

#include <utility>

#include "tiercast/tiercast.h"

namespace tiercast {

// A tc_error that starts out as success.
struct Error : tc_error {
  Error() : tc_error{TC_OK, {0}} {}
};

// Owns a tc_session. Movable, not copyable; used by one thread at a time.
class Session {
 public:
  Session() = default;
  ~Session() { tc_session_close(session_); }
  Session(Session&& other) noexcept : session_(std::exchange(other.session_, nullptr)) {}
  Session& operator=(Session&& other) noexcept {
    std::swap(session_, other.session_);
    return *this;
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Opens a package file in place of what this held. See tc_session_open.
  tc_status open(const char* path, const tc_library* library, const tc_options& options, tc_error* error) {
    close();
    return tc_session_open(path, library, &options, &session_, error);
  }
  // Opens a package in the caller's memory. See tc_session_open_memory.
  tc_status open(const void* data, uint64_t bytes, const tc_library* library, const tc_options& options, tc_error* error) {
    close();
    return tc_session_open_memory(data, bytes, library, &options, &session_, error);
  }
  void close() { tc_session_close(std::exchange(session_, nullptr)); }

  explicit operator bool() const { return session_ != nullptr; }
  tc_session* get() const { return session_; }

  int32_t input_count() const { return tc_session_input_count(session_); }
  int32_t output_count() const { return tc_session_output_count(session_); }
  const tc_port& input(int32_t index) const { return *tc_session_input(session_, index); }    // index must be in range
  const tc_port& output(int32_t index) const { return *tc_session_output(session_, index); }  // index must be in range
  int64_t step_count() const { return tc_session_step_count(session_); }
  // See tc_session_step; an all-zero info when out of range.
  tc_step_info step(int64_t index) const {
    tc_step_info info = {};
    tc_session_step(session_, index, &info);
    return info;
  }

  // Shape buckets: see tc_session_select and tc_session_resize.
  int32_t bucket_count() const { return tc_session_bucket_count(session_); }
  int32_t bucket() const { return tc_session_bucket(session_); }
  tc_status select(int32_t bucket, tc_error* error) { return tc_session_select(session_, bucket, error); }
  tc_status resize(const tc_shape* inputs, int32_t inputs_given, tc_error* error) {
    return tc_session_resize(session_, inputs, inputs_given, error);
  }

  // Runs the model once on the caller's buffers. See tc_session_run.
  tc_status run(const tc_buffer* inputs, int32_t inputs_given, const tc_buffer* outputs, int32_t outputs_given, tc_error* error) {
    return tc_session_run(session_, inputs, inputs_given, outputs, outputs_given, error);
  }

 private:
  tc_session* session_ = nullptr;
};

}  // namespace tiercast
#endif
