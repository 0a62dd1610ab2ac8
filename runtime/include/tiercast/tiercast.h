// Tiercast's C API: open a package, bind its steps to kernels, run it.
//
//   tc_error error;
//   tc_session* session = NULL;
//   tc_options options = tc_options_default();
//   if (tc_session_open("seg.tcpkg", tc_library_full(), &options, &session, &error) != TC_OK) { puts(error.message); return 1; }
//   tc_buffer in = {image, image_bytes}, out = {mask, mask_bytes};
//   if (tc_session_run(session, &in, 1, &out, 1, &error) != TC_OK) { puts(error.message); return 1; }
//   tc_session_close(session);
//
// A session is used by one thread at a time; different sessions are independent. After a successful open nothing allocates.
#ifndef TIERCAST_TIERCAST_H_
#define TIERCAST_TIERCAST_H_

#include <stddef.h>
#include <stdint.h>

#include "tiercast/kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tc_status {
  TC_OK = 0,
  TC_ERROR_ARGUMENT = 1,  // the caller gave something wrong (option, buffer size, count)
  TC_ERROR_IO = 2,        // the file cannot be opened, read or mapped
  TC_ERROR_PACKAGE = 3,   // the bytes break a rule of the format: damaged, truncated or hostile
  TC_ERROR_KERNEL = 4,    // the library has no kernel that can do a step on this CPU
  TC_ERROR_MEMORY = 5,    // memory or threads could not be had, or a limit in the options forbids them
} tc_status;

enum { TC_ERROR_MESSAGE_BYTES = 2048, TC_MAX_THREADS = 64 };

// Filled by the function that failed; untouched on success. `message` is one line or a few, and always terminated.
typedef struct tc_error {
  tc_status status;
  char message[TC_ERROR_MESSAGE_BYTES];
} tc_error;

// The cores that a session's threads run on, where a CPU has faster (big) and slower (little) ones.
typedef enum tc_cores {
  TC_CORES_PACKAGE = 0,  // what the package's target asks for
  TC_CORES_ALL = 1,
  TC_CORES_BIG = 2,     // all but the slowest kind
  TC_CORES_LITTLE = 3,  // the slowest kind
} tc_cores;

typedef struct tc_options {
  // 1 .. TC_MAX_THREADS, the caller's own among them; 0: as many as there are such cores, and at most what the package's target asks for
  int32_t threads;
  tc_cores cores;               // where the session's own threads run; see tc_session_pin_caller for the caller's
  uint64_t cpu_features;        // use no more than these tc_cpu_feature bits; UINT64_MAX: all that the CPU has
  uint64_t memory_limit_bytes;  // refuse a package that wants more than this for arena and scratch together
} tc_options;

// An input or output of the model: dense, row-major, in the model's own order of dimensions. A dimension may be 0: such a port has 0 bytes.
typedef struct tc_port {
  const char* name;  // owned by the session
  int32_t dtype;     // tc_dtype
  int32_t rank;      // 0 .. TC_MAX_RANK
  int64_t dims[TC_MAX_RANK];
  uint64_t bytes;  // of the dense tensor
} tc_port;

// The shape of one input.
typedef struct tc_shape {
  int32_t rank;
  int64_t dims[TC_MAX_RANK];
} tc_shape;

// The caller's memory for one port. `data` is aligned to the element size (64 bytes is fastest), `bytes` is the port's; where they are 0,
// `data` may be NULL.
typedef struct tc_buffer {
  void* data;
  uint64_t bytes;
} tc_buffer;

// What a step is and what was bound to it. Texts are owned by the session.
typedef struct tc_step_info {
  const char* name;    // of the node it came from
  const char* op;      // e.g. conv2d_f32f32
  const char* kernel;  // the row that runs, e.g. conv2d_f32f32_neon_8x8
  const char* chosen;  // the row the plan asked for; another text than `kernel` when it could not be had
  uint64_t macs;       // multiply-accumulates, as the plan states them
  int64_t work_items;  // independent pieces that threads share
} tc_step_info;

typedef struct tc_session tc_session;

// Called by tc_session_run after each step, on the caller's thread. `outputs` (of `output_count`) and their data are valid during the
// call only. `microseconds` is the step's wall time.
typedef void (*tc_observer)(void* user, int64_t step, const tc_view* outputs, int32_t output_count, double microseconds);

// 1 thread, the package's choice of cores, all CPU features, 64 GiB.
TC_API tc_options tc_options_default(void);

// One table of two: the rows of `first`, then those of `more`, in `kernels`, which has room for `capacity` rows and must live as long as
// *joined does. TC_ERROR_ARGUMENT when they are more, or when both have a row of one name.
TC_API tc_status tc_library_join(const tc_library* first, const tc_library* more, const tc_kernel** kernels, int64_t capacity,
                                 tc_library* joined, tc_error* error);

// Opens `path`: maps it read-only, verifies all of it, binds each step to a kernel of `library`, allocates the arena, starts the threads.
// options may be NULL (defaults). On success *session is the caller's, to be given to tc_session_close; on failure it is NULL and *error
// (may be NULL) says where, what and which rule. `library` must outlive the session. The file must not be changed while it is open:
// replace packages by write-and-rename.
TC_API tc_status tc_session_open(const char* path, const tc_library* library, const tc_options* options, tc_session** session,
                                 tc_error* error);

// The same for a package in memory, which the session uses in place: 64-byte aligned, unchanged and alive until close.
TC_API tc_status tc_session_open_memory(const void* data, uint64_t bytes, const tc_library* library, const tc_options* options,
                                        tc_session** session, tc_error* error);

// Verifies the package at `path` without binding it: TC_OK, TC_ERROR_IO or TC_ERROR_PACKAGE.
TC_API tc_status tc_package_check(const char* path, tc_error* error);

// Stops the threads and frees everything. NULL is fine.
TC_API void tc_session_close(tc_session* session);

TC_API int32_t tc_session_input_count(const tc_session* session);
TC_API int32_t tc_session_output_count(const tc_session* session);
// Port `index`, or NULL when out of range; valid until close.
TC_API const tc_port* tc_session_input(const tc_session* session, int32_t index);
TC_API const tc_port* tc_session_output(const tc_session* session, int32_t index);

// Shape buckets. A package may hold the model planned for several input shapes (`tiercast compile --input image:1x3x256,512x256`). One
// bucket is selected at a time, the first when a session opens: ports, steps and runs are those of the selected one. Numbers, order, names
// and dtypes of ports are the same in all buckets; their dims differ. Selecting allocates nothing and prepares nothing.
TC_API int32_t tc_session_bucket_count(const tc_session* session);
TC_API int32_t tc_session_bucket(const tc_session* session);
// Selects a bucket by its number. TC_ERROR_ARGUMENT when there is none such; then the selection stays.
TC_API tc_status tc_session_select(tc_session* session, int32_t bucket, tc_error* error);
// Selects the bucket whose inputs have exactly these shapes, in the order of the ports. TC_ERROR_ARGUMENT, with a message that lists the
// buckets, when none has; then the selection stays. Nothing is padded or cropped: that is the caller's.
TC_API tc_status tc_session_resize(tc_session* session, const tc_shape* inputs, int32_t input_count, tc_error* error);

// Runs the model once. Buffers are used directly, in the order of the ports; inputs are only read. Fails with TC_ERROR_ARGUMENT, before
// any work, when a count, size or alignment is wrong or when an output buffer overlaps another buffer.
TC_API tc_status tc_session_run(tc_session* session, const tc_buffer* inputs, int32_t input_count, const tc_buffer* outputs,
                                int32_t output_count, tc_error* error);

// Threads that share a run, the caller's among them.
TC_API int32_t tc_session_threads(const tc_session* session);

// Lets the calling thread run only on the session's cores, as the session's own threads do; call it from the thread that will call
// tc_session_run. TC_ERROR_ARGUMENT when the system refuses.
TC_API tc_status tc_session_pin_caller(const tc_session* session, tc_error* error);

TC_API int64_t tc_session_step_count(const tc_session* session);
// Fills *info for step `index`; TC_ERROR_ARGUMENT when out of range.
TC_API tc_status tc_session_step(const tc_session* session, int64_t index, tc_step_info* info);
// Likewise the steps that ran once, when the session opened.
TC_API int64_t tc_session_prepare_count(const tc_session* session);
TC_API tc_status tc_session_prepare_step(const tc_session* session, int64_t index, tc_step_info* info);

// `observer` is called after every step of later runs; NULL turns it off (then steps are not timed).
TC_API void tc_session_set_observer(tc_session* session, tc_observer observer, void* user);

// Bytes of the arena, of the mapped weights, of the constants made when the session opened, and of the scratch of all threads together. All
// buckets share them; each is as large as the bucket that wants most.
TC_API uint64_t tc_session_arena_bytes(const tc_session* session);
TC_API uint64_t tc_session_weights_bytes(const tc_session* session);
TC_API uint64_t tc_session_prepared_bytes(const tc_session* session);
TC_API uint64_t tc_session_scratch_bytes(const tc_session* session);

// "f32", "f16", ... or "?"; static text. Bytes of one element, or 0 for an unknown dtype.
TC_API const char* tc_dtype_name(int32_t dtype);
TC_API int32_t tc_dtype_bytes(int32_t dtype);

// Bytes that the view's elements take when dense, row-major.
TC_API uint64_t tc_view_dense_bytes(const tc_view* view);
// Copies the view's elements, dense and row-major, to `out` (tc_view_dense_bytes of it).
TC_API void tc_view_copy_dense(const tc_view* view, void* out);

#ifdef __cplusplus
}
#endif
#endif
