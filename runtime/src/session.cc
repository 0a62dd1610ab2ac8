#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <new>

#include "arena.h"
#include "checked.h"
#include "cores.h"
#include "error.h"
#include "package.h"
#include "pool.h"
#include "program.h"
#include "repeat.h"
#include "tiercast/cpu.h"

using tiercast::Arena;
using tiercast::BoundStep;
using tiercast::fail;
using tiercast::Package;
using tiercast::Pool;
using tiercast::PortView;
using tiercast::Program;

// One plan of the package, ready to run.
struct Bucket {
  const tiercast::fb::Plan* plan = nullptr;
  Program program;
  tc_port* ports = nullptr;  // inputs, then outputs
};

struct tc_session {
  Package package;
  Bucket* buckets = nullptr;
  Bucket* current = nullptr;  // the selected one
  int32_t bucket_count = 0;
  Arena arena;                                   // tensors, prepared constants, then one scratch per thread; all buckets use the same
  uint64_t arena_bytes = 0, prepared_bytes = 0;  // the most that a bucket wants
  uint64_t scratch_offset = 0, scratch_stride = 0;
  Pool pool;
  cpu_set_t cores;      // that its threads run on
  bool pinned = false;  // to less than all
  int32_t input_count = 0, output_count = 0;
  tc_observer observer = nullptr;
  void* observer_user = nullptr;
};

namespace {

unsigned long long ull(uint64_t value) { return value; }

void fill_port(const tiercast::fb::Port& from, tc_port* to) {
  to->name = tiercast::text(from.name());
  to->dtype = static_cast<int32_t>(from.dtype());
  to->rank = static_cast<int32_t>(tiercast::length(from.dims()));
  to->bytes = static_cast<uint64_t>(tc_dtype_bytes(to->dtype));
  for (int32_t i = 0; i < to->rank; ++i) {
    to->dims[i] = from.dims()->Get(static_cast<uint32_t>(i));
    to->bytes *= static_cast<uint64_t>(to->dims[i]);
  }
}

tc_status make_ports(const tc_session& session, Bucket* bucket, tc_error* error) {
  bucket->ports = static_cast<tc_port*>(calloc(static_cast<size_t>(session.input_count + session.output_count), sizeof(tc_port)));
  if (bucket->ports == nullptr) return fail(error, TC_ERROR_MEMORY, "%s: no memory for its ports", session.package.label);
  for (int32_t i = 0; i < session.input_count; ++i) fill_port(*bucket->plan->inputs()->Get(static_cast<uint32_t>(i)), &bucket->ports[i]);
  for (int32_t i = 0; i < session.output_count; ++i)
    fill_port(*bucket->plan->outputs()->Get(static_cast<uint32_t>(i)), &bucket->ports[session.input_count + i]);
  return TC_OK;
}

// Ports and bound steps of every plan; the first is selected.
tc_status make_buckets(tc_session* session, const tc_library* library, uint64_t features, tc_error* error) {
  const uint32_t count = tiercast::plan_count(session->package);
  session->input_count = static_cast<int32_t>(tiercast::length(tiercast::plan_at(session->package, 0).inputs()));
  session->output_count = static_cast<int32_t>(tiercast::length(tiercast::plan_at(session->package, 0).outputs()));
  session->buckets = static_cast<Bucket*>(calloc(count, sizeof(Bucket)));
  if (session->buckets == nullptr) return fail(error, TC_ERROR_MEMORY, "%s: no memory for %u buckets", session->package.label, count);
  session->bucket_count = static_cast<int32_t>(count);
  session->current = session->buckets;
  tc_status status = TC_OK;
  for (uint32_t i = 0; i < count && status == TC_OK; ++i) {
    Bucket* bucket = new (&session->buckets[i]) Bucket;
    bucket->plan = &tiercast::plan_at(session->package, i);
    status = make_ports(*session, bucket, error);
    if (status == TC_OK) status = tiercast::program_bind(session->package, i, library, features, &bucket->program, error);
  }
  return status;
}

uint64_t larger(uint64_t a, uint64_t b) { return a < b ? b : a; }

tc_status make_arena(tc_session* session, const tc_options& options, tc_error* error) {
  uint64_t arena_bytes = 0, prepared_bytes = 0, scratch = 0;
  for (int32_t i = 0; i < session->bucket_count; ++i) {
    arena_bytes = larger(arena_bytes, session->buckets[i].plan->arena_bytes());
    prepared_bytes = larger(prepared_bytes, session->buckets[i].plan->prepared_bytes());
    scratch = larger(scratch, session->buckets[i].program.scratch_bytes);
  }
  session->arena_bytes = arena_bytes;
  session->prepared_bytes = prepared_bytes;
  arena_bytes = tiercast::round_up(arena_bytes, tiercast::kArenaAlignment);
  prepared_bytes = tiercast::round_up(prepared_bytes, tiercast::kArenaAlignment);
  session->scratch_offset = arena_bytes + prepared_bytes;
  session->scratch_stride = tiercast::round_up(scratch, tiercast::kArenaAlignment);
  const uint64_t scratch_bytes = session->scratch_stride * static_cast<uint64_t>(session->pool.threads());  // < 2^43
  const uint64_t total = session->scratch_offset + scratch_bytes;
  if (total > options.memory_limit_bytes)
    return fail(error, TC_ERROR_MEMORY,
                "%s: wants %llu bytes of arena, %llu of prepared constants and %llu of scratch; memory_limit_bytes is %llu",
                session->package.label, ull(arena_bytes), ull(prepared_bytes), ull(scratch_bytes), ull(options.memory_limit_bytes));
  if (!tiercast::arena_make(total, &session->arena))
    return fail(error, TC_ERROR_MEMORY, "%s: the system has no %llu bytes for arena, prepared constants and scratch",
                session->package.label, ull(total));
  for (int32_t i = 0; i < session->bucket_count; ++i)
    tiercast::program_place(*session->buckets[i].plan, session->arena.bytes, session->arena.bytes + arena_bytes,
                            &session->buckets[i].program);
  return TC_OK;
}

// Grains that a step is cut into per thread; a thread takes 4, 2, 1 and 1 of them: enough to even out slower cores, few enough to keep each
// kernel call worth its set-up.
constexpr int64_t kGrainsPerThread = 8;

// One step on its way through the pool.
struct Job {
  const tc_session* session;
  const BoundStep* step;
  int64_t grains;
};

// The first work item of a grain. Without items * grain, which a hostile item count would overflow.
int64_t first_item(const Job& job, int64_t grain) {
  const int64_t each = job.step->work_items / job.grains, more = job.step->work_items % job.grains;
  return each * grain + (grain < more ? grain : more);
}

void run_grains(void* argument, int32_t thread, int32_t begin, int32_t end) {
  const Job& job = *static_cast<const Job*>(argument);
  tc_call call = job.step->call;
  const tc_session& session = *job.session;
  call.scratch = session.arena.bytes + session.scratch_offset + session.scratch_stride * static_cast<uint64_t>(thread);
  job.step->kernel->run(&call, first_item(job, begin), first_item(job, end));
}

// Lets a step see its operands and scratch only; see arena_hide.
void show_operands(const tc_session& session, const BoundStep& step) {
#ifdef TC_ADDRESS_SANITIZER
  tiercast::arena_hide(session.arena);
  const auto show = [](const tc_view& view) {
    uint64_t elements = view.data == nullptr ? 0 : 1;
    for (int32_t i = 0; i < view.rank; ++i) elements += static_cast<uint64_t>((view.dims[i] - 1) * view.strides[i]);
    if (view.constant == 0) tiercast::arena_show(view.data, elements * static_cast<uint64_t>(tc_dtype_bytes(view.dtype)));
  };
  for (int32_t i = 0; i < step.call.input_count; ++i) show(step.call.inputs[i]);
  for (int32_t i = 0; i < step.call.output_count; ++i) show(step.call.outputs[i]);
  const uint8_t* scratch = session.arena.bytes + session.scratch_offset;
  for (int32_t i = 0; i < session.pool.threads(); ++i)
    tiercast::arena_show(scratch + session.scratch_stride * static_cast<uint64_t>(i), static_cast<uint64_t>(step.call.scratch_bytes));
#else
  (void)session, (void)step;
#endif
}

void run_step(tc_session* session, const BoundStep& step) {
  show_operands(*session, step);
  Job job = {session, &step, 1};
  const int64_t threads = session->pool.threads();
  if (!step.shared || threads == 1) return run_grains(&job, 0, 0, 1);
  job.grains = step.work_items < threads * kGrainsPerThread ? step.work_items : threads * kGrainsPerThread;
  session->pool.run(run_grains, &job, static_cast<int32_t>(job.grains));
}

// On which cores the options, else the package's target, want threads to run.
tc_cores wanted_cores(const tc_session& session, const tc_options& options) {
  const tc_cores wanted = static_cast<tc_cores>(TC_CORES_ALL + static_cast<int32_t>(tiercast::plan_at(session.package, 0).cores()));
  return options.cores == TC_CORES_PACKAGE ? wanted : options.cores;
}

// What kernels may need: little cores are not out of order where others are.
uint64_t usable_features(const tc_session& session, const tc_options& options) {
  const uint64_t features = tc_cpu_features() & options.cpu_features;
  if ((features & TC_CPU_OOO) == 0 || wanted_cores(session, options) != TC_CORES_LITTLE) return features;
  return tiercast::read_order(tiercast::kCoresFolder) == tiercast::Order::mixed ? features & ~uint64_t{TC_CPU_OOO} : features;
}

// Starts as many threads as the options, the package's target and the CPU's cores ask for.
tc_status start_threads(tc_session* session, const tc_options& options, tc_error* error) {
  const tiercast::fb::Plan& plan = tiercast::plan_at(session->package, 0);
  const tc_cores choice = wanted_cores(*session, options);
  session->pinned = choice != TC_CORES_ALL;
  tiercast::Core cores[tiercast::kMaxCores];
  const int32_t usable = tiercast::read_cores(session->pinned ? tiercast::kCoresFolder : nullptr, cores);
  const int32_t chosen = tiercast::choose_cores(cores, usable, choice, &session->cores);
  int32_t threads = options.threads;
  if (threads == 0) {
    const int32_t most = plan.max_threads() == 0 ? TC_MAX_THREADS : static_cast<int32_t>(plan.max_threads());
    threads = chosen < 1 ? 1 : chosen < most ? chosen : most;
  }
  if (session->pool.start(threads, chosen, session->pinned ? &session->cores : nullptr)) return TC_OK;
  return fail(error, TC_ERROR_MEMORY, "%s: the system refuses %d threads", session->package.label, threads);
}

// Everything after verification.
tc_status make_ready(tc_session* session, const tc_library* library, const tc_options& options, tc_error* error) {
  const uint64_t features = usable_features(*session, options);
  tc_status status = make_buckets(session, library, features, error);
  if (status == TC_OK) status = start_threads(session, options, error);
  if (status == TC_OK) status = make_arena(session, options, error);
  for (int32_t bucket = 0; status == TC_OK && bucket < session->bucket_count; ++bucket) {
    const Program& program = session->buckets[bucket].program;
    for (int64_t i = 0; i < program.prepare_count; ++i) run_step(session, program.prepare[i]);
  }
  return status;
}

// The path, or memory, to open.
struct Source {
  const char* path;
  const void* data;
  uint64_t bytes;
};

tc_status open_session(const Source& source, const tc_library* library, const tc_options* given, tc_session** out, tc_error* error) {
  if (out == nullptr) return fail(error, TC_ERROR_ARGUMENT, "tc_session_open: session is NULL");
  *out = nullptr;
  const tc_options options = given != nullptr ? *given : tc_options_default();
  if (library == nullptr || (source.path == nullptr && source.data == nullptr))
    return fail(error, TC_ERROR_ARGUMENT, "tc_session_open: %s is NULL", library == nullptr ? "library" : "the package");
  if (options.threads < 0 || options.threads > TC_MAX_THREADS)
    return fail(error, TC_ERROR_ARGUMENT, "tc_session_open: %d threads; must be 1 to %d, or 0 for as many as pay", options.threads,
                TC_MAX_THREADS);
  if (options.cores < TC_CORES_PACKAGE || options.cores > TC_CORES_LITTLE)
    return fail(error, TC_ERROR_ARGUMENT, "tc_session_open: cores is %d; must be a tc_cores", static_cast<int>(options.cores));
  void* memory = nullptr;
  if (posix_memalign(&memory, alignof(tc_session), sizeof(tc_session)) != 0)
    return fail(error, TC_ERROR_MEMORY, "tc_session_open: no memory for a session");
  auto* session = new (memory) tc_session;
  tc_status status = source.path != nullptr ? tiercast::package_open(source.path, &session->package, error)
                                            : tiercast::package_open_memory(source.data, source.bytes, &session->package, error);
  if (status == TC_OK) status = make_ready(session, library, options, error);
  if (status == TC_OK)
    *out = session;
  else
    tc_session_close(session);
  return status;
}

double now_microseconds() {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) * 1e-3;
}

void run_steps(tc_session* session) {
  const Program& program = session->current->program;
  if (session->observer == nullptr) {
    for (int64_t i = 0; i < program.step_count; ++i) run_step(session, program.steps[i]);
    return;
  }
  for (int64_t i = 0; i < program.step_count; ++i) {
    const BoundStep& step = program.steps[i];
    const double begin = now_microseconds();
    run_step(session, step);
    session->observer(session->observer_user, i, step.call.outputs, step.call.output_count, now_microseconds() - begin);
  }
}

// `buffers` fit `ports`, one by one.
tc_status check_buffers(const tc_session& session, const char* direction, const tc_port* ports, int32_t port_count,
                        const tc_buffer* buffers, int32_t count, tc_error* error) {
  const char* label = session.package.label;
  const tiercast::BucketText bucket = tiercast::bucket_text(session.package, static_cast<uint32_t>(tc_session_bucket(&session)));
  if (count != port_count || (buffers == nullptr && count != 0))
    return fail(error, TC_ERROR_ARGUMENT, "%s: %d %s buffers given; it has %d", label, buffers == nullptr ? 0 : count, direction,
                port_count);
  for (int32_t i = 0; i < count; ++i) {
    const tc_port& port = ports[i];
    if ((buffers[i].data == nullptr && port.bytes != 0) || buffers[i].bytes != port.bytes)
      return fail(error, TC_ERROR_ARGUMENT, "%s%s: %s %d \"%s\" takes %llu bytes; %llu given%s", label, bucket.chars, direction, i,
                  port.name, ull(port.bytes), ull(buffers[i].bytes), buffers[i].data == nullptr ? " at NULL" : "");
    if (reinterpret_cast<uintptr_t>(buffers[i].data) % static_cast<uintptr_t>(tc_dtype_bytes(port.dtype)) != 0)
      return fail(error, TC_ERROR_ARGUMENT, "%s: %s %d \"%s\" is not aligned to its %d-byte elements", label, direction, i, port.name,
                  tc_dtype_bytes(port.dtype));
  }
  return TC_OK;
}

bool overlap(const tc_buffer& a, const tc_buffer& b) {
  if (a.bytes == 0 || b.bytes == 0) return false;
  const auto begin_a = reinterpret_cast<uintptr_t>(a.data), begin_b = reinterpret_cast<uintptr_t>(b.data);
  return begin_a < begin_b + b.bytes && begin_b < begin_a + a.bytes;
}

tc_status check_overlap(const tc_session& session, const tc_buffer* inputs, const tc_buffer* outputs, tc_error* error) {
  for (int32_t i = 0; i < session.output_count; ++i) {
    const tc_port* ports = session.current->ports;
    const char* name = ports[session.input_count + i].name;
    for (int32_t j = 0; j < session.input_count; ++j)
      if (overlap(outputs[i], inputs[j]))
        return fail(error, TC_ERROR_ARGUMENT, "%s: the buffers of output \"%s\" and input \"%s\" overlap", session.package.label, name,
                    ports[j].name);
    for (int32_t j = 0; j < i; ++j)
      if (overlap(outputs[i], outputs[j]))
        return fail(error, TC_ERROR_ARGUMENT, "%s: the buffers of outputs \"%s\" and \"%s\" overlap", session.package.label, name,
                    ports[session.input_count + j].name);
  }
  return TC_OK;
}

void fill_info(const BoundStep& bound, const tiercast::fb::Step& planned, tc_step_info* info) {
  *info = {tiercast::text(planned.name()),
           tiercast::text(planned.op()),
           bound.kernel->name,
           tiercast::text(planned.kernel()),
           planned.macs(),
           bound.work_items};
}

void place_port_views(const Program& program, const tc_buffer* inputs, const tc_buffer* outputs) {
  for (int64_t i = 0; i < program.port_view_count; ++i) {
    const PortView& port_view = program.port_views[i];
    const tc_buffer& buffer = port_view.is_output ? outputs[port_view.port] : inputs[port_view.port];
    port_view.view->data = static_cast<uint8_t*>(buffer.data) + port_view.offset;
  }
}

bool takes(const Bucket& bucket, const tc_shape* inputs, int32_t count) {
  for (int32_t i = 0; i < count; ++i) {
    const tc_port& port = bucket.ports[i];
    if (inputs[i].rank != port.rank || memcmp(inputs[i].dims, port.dims, sizeof(int64_t) * static_cast<size_t>(port.rank)) != 0)
      return false;
  }
  return true;
}

// A text that is cut when it does not fit.
struct Text {
  char chars[1500] = {};
  size_t used = 0;

  void add(const char* format, ...) __attribute__((format(printf, 2, 3))) {
    va_list arguments;
    va_start(arguments, format);
    const int written = vsnprintf(chars + used, sizeof(chars) - used, format, arguments);
    va_end(arguments);
    used = written < 0                                           ? used
           : used + static_cast<size_t>(written) < sizeof(chars) ? used + static_cast<size_t>(written)
                                                                 : sizeof(chars) - 1;
  }

  void add_shape(const char* name, int32_t rank, const int64_t* dims) {
    add(" %.80s ", name);
    for (int32_t i = 0; i < rank && i < TC_MAX_RANK; ++i) add("%s%lld", i == 0 ? "" : "x", static_cast<long long>(dims[i]));
    if (rank == 0) add("scalar");
  }
};

tc_status refuse_shapes(const tc_session& session, const tc_shape* inputs, int32_t count, tc_error* error) {
  Text given, buckets;
  for (int32_t i = 0; i < count; ++i) given.add_shape(session.current->ports[i].name, inputs[i].rank, inputs[i].dims);
  for (int32_t bucket = 0; bucket < session.bucket_count; ++bucket) {
    buckets.add("\n  %d:", bucket);
    for (int32_t i = 0; i < count; ++i) {
      const tc_port& port = session.buckets[bucket].ports[i];
      buckets.add_shape(port.name, port.rank, port.dims);
    }
  }
  return fail(error, TC_ERROR_ARGUMENT, "%s: no bucket takes%.400s; shapes must match exactly, nothing is padded; its buckets:%s",
              session.package.label, given.chars, buckets.chars);
}

}  // namespace

tc_options tc_options_default(void) { return {1, TC_CORES_PACKAGE, UINT64_MAX, uint64_t{1} << 36}; }

tc_status tc_session_open(const char* path, const tc_library* library, const tc_options* options, tc_session** session, tc_error* error) {
  return open_session({path, nullptr, 0}, library, options, session, error);
}

tc_status tc_session_open_memory(const void* data, uint64_t bytes, const tc_library* library, const tc_options* options,
                                 tc_session** session, tc_error* error) {
  return open_session({nullptr, data, bytes}, library, options, session, error);
}

tc_status tc_package_check(const char* path, tc_error* error) {
  if (path == nullptr) return fail(error, TC_ERROR_ARGUMENT, "tc_package_check: path is NULL");
  Package package;
  const tc_status status = tiercast::package_open(path, &package, error);
  if (status == TC_OK) tiercast::package_close(&package);
  return status;
}

void tc_session_close(tc_session* session) {
  if (session == nullptr) return;
  session->pool.stop();
  for (int32_t i = 0; i < session->bucket_count; ++i) {
    tiercast::program_free(&session->buckets[i].program);
    free(session->buckets[i].ports);
  }
  free(session->buckets);
  tiercast::arena_free(&session->arena);
  tiercast::package_close(&session->package);
  session->~tc_session();
  free(session);
}

int32_t tc_session_input_count(const tc_session* session) { return session->input_count; }
int32_t tc_session_output_count(const tc_session* session) { return session->output_count; }

const tc_port* tc_session_input(const tc_session* session, int32_t index) {
  return index >= 0 && index < session->input_count ? &session->current->ports[index] : nullptr;
}

const tc_port* tc_session_output(const tc_session* session, int32_t index) {
  return index >= 0 && index < session->output_count ? &session->current->ports[session->input_count + index] : nullptr;
}

int32_t tc_session_bucket_count(const tc_session* session) { return session->bucket_count; }
int32_t tc_session_bucket(const tc_session* session) { return static_cast<int32_t>(session->current - session->buckets); }

tc_status tc_session_select(tc_session* session, int32_t bucket, tc_error* error) {
  if (bucket < 0 || bucket >= session->bucket_count)
    return fail(error, TC_ERROR_ARGUMENT, "%s: there is no bucket %d; it has %d, numbered from 0", session->package.label, bucket,
                session->bucket_count);
  session->current = &session->buckets[bucket];
  return TC_OK;
}

tc_status tc_session_resize(tc_session* session, const tc_shape* inputs, int32_t count, tc_error* error) {
  if (count != session->input_count || (inputs == nullptr && count != 0))
    return fail(error, TC_ERROR_ARGUMENT, "%s: %d input shapes given; it has %d inputs", session->package.label,
                inputs == nullptr ? 0 : count, session->input_count);
  for (int32_t i = 0; i < session->bucket_count; ++i)
    if (takes(session->buckets[i], inputs, count)) return tc_session_select(session, i, error);
  return refuse_shapes(*session, inputs, count, error);
}

tc_status tc_session_run(tc_session* session, const tc_buffer* inputs, int32_t input_count, const tc_buffer* outputs, int32_t output_count,
                         tc_error* error) {
  const tc_port* ports = session->current->ports;
  tc_status status = check_buffers(*session, "input", ports, session->input_count, inputs, input_count, error);
  if (status == TC_OK)
    status = check_buffers(*session, "output", ports + session->input_count, session->output_count, outputs, output_count, error);
  if (status == TC_OK) status = check_overlap(*session, inputs, outputs, error);
  if (status != TC_OK) return status;
  place_port_views(session->current->program, inputs, outputs);
  session->pool.begin_series();
  run_steps(session);
  session->pool.end_series();
  return TC_OK;
}

int32_t tc_session_threads(const tc_session* session) { return session->pool.threads(); }

tc_status tc_session_pin_caller(const tc_session* session, tc_error* error) {
  if (!session->pinned || sched_setaffinity(0, sizeof(session->cores), &session->cores) == 0) return TC_OK;
  return fail(error, TC_ERROR_ARGUMENT, "%s: the system does not let this thread run on its %d cores only", session->package.label,
              CPU_COUNT(&session->cores));
}

void tiercast::repeat_step(tc_session* session, int64_t index, int64_t times) {
  for (int64_t i = 0; i < times; ++i) run_step(session, session->current->program.steps[index]);
}

int64_t tc_session_step_count(const tc_session* session) { return session->current->program.step_count; }

int64_t tc_session_prepare_count(const tc_session* session) { return session->current->program.prepare_count; }

tc_status tc_session_step(const tc_session* session, int64_t index, tc_step_info* info) {
  if (index < 0 || index >= session->current->program.step_count) return TC_ERROR_ARGUMENT;
  fill_info(session->current->program.steps[index], *session->current->plan->steps()->Get(static_cast<uint32_t>(index)), info);
  return TC_OK;
}

tc_status tc_session_prepare_step(const tc_session* session, int64_t index, tc_step_info* info) {
  if (index < 0 || index >= session->current->program.prepare_count) return TC_ERROR_ARGUMENT;
  fill_info(session->current->program.prepare[index], *session->current->plan->prepare()->Get(static_cast<uint32_t>(index)), info);
  return TC_OK;
}

void tc_session_set_observer(tc_session* session, tc_observer observer, void* user) {
  session->observer = observer;
  session->observer_user = user;
}

uint64_t tc_session_arena_bytes(const tc_session* session) { return session->arena_bytes; }
uint64_t tc_session_weights_bytes(const tc_session* session) { return session->package.weights_bytes; }
uint64_t tc_session_prepared_bytes(const tc_session* session) { return session->prepared_bytes; }
uint64_t tc_session_scratch_bytes(const tc_session* session) {
  return session->scratch_stride * static_cast<uint64_t>(session->pool.threads());
}
