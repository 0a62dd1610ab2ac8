// tiercast-run: runs packages from the command line. Tensors are raw little-endian files, dense and row-major, of exactly the port's bytes.
// The exit code is 0, or 1 + the tc_status that stopped it: 2 wrong usage or input, 3 a file cannot be read or written, 4 the package is
// refused, 5 no kernel for a step, 6 no memory.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "error.h"
#include "tiercast/cpu.h"
#include "tiercast/library.h"
#include "tiercast/tiercast.hpp"

namespace {

using tiercast::fail;
using tiercast::Session;

constexpr int kMaxInputs = 1024;
constexpr const char* kUsage =
    "usage: tiercast-run PACKAGE [options]\n"
    "       tiercast-run --batch LIST [--threads N] [--features F]\n"
    "  --input NAME=FILE   raw little-endian tensor for this input\n"
    "  --fill              fill inputs that are not given with a fixed pattern (f32: -1 to 1)\n"
    "  --output-dir DIR    write output number i to DIR/i.bin\n"
    "  --taps DIR          write output j of step i to DIR/i_j.bin\n"
    "  --bucket N          run the shape bucket of this number, default 0; --list tells them\n"
    "  --threads N         0 to 64, default 1; 0: as many as the package's target asks for\n"
    "  --cores KIND        run on these cores only: all, big or little; default: as the package's target asks\n"
    "  --features F        use only these CPU features, e.g. neon,dotprod, or none\n"
    "  --repeat N          run N times, default 1\n"
    "  --time              print the times as JSON, of the whole and per step, in microseconds\n"
    "  --mark              mark the last run, step by step, for an instruction counter (targets/qemu/counter.c)\n"
    "  --list              print ports and bound kernels as JSON, and do not run\n"
    "  --batch LIST        each line of LIST is `package in_dir out_dir`: reads in_dir/i.bin, writes out_dir/i.bin, prints a line of "
    "result\n";

struct Arguments {
  const char* package = nullptr;
  const char* batch = nullptr;
  const char* output_dir = nullptr;
  const char* taps_dir = nullptr;
  const char* inputs[kMaxInputs];  // NAME=FILE
  int input_count = 0;
  long repeat = 1, bucket = 0;
  bool time = false, mark = false, list = false, fill = false;
  tc_options options = tc_options_default();
};

// The value of option `name` at *index, or NULL with a message when it is missing.
const char* option_value(int count, char** words, int* index) {
  if (*index + 1 < count) return words[++*index];
  fprintf(stderr, "tiercast-run: %s takes a value\n", words[*index]);
  return nullptr;
}

// Parses a whole number in [least, limit]; -1 with a message when it is none.
long parse_count(const char* option, const char* value, long least, long limit) {
  char* end = nullptr;
  const long number = strtol(value, &end, 10);
  if (*value != 0 && *end == 0 && number >= least && number <= limit) return number;
  fprintf(stderr, "tiercast-run: %s %s: must be a number from %ld to %ld\n", option, value, least, limit);
  return -1;
}

bool parse_cores(const char* value, tc_cores* cores) {
  const char* const names[] = {"all", "big", "little"};
  for (int32_t i = 0; i < 3; ++i)
    if (strcmp(value, names[i]) == 0) return *cores = static_cast<tc_cores>(TC_CORES_ALL + i), true;
  fprintf(stderr, "tiercast-run: --cores %s: must be all, big or little\n", value);
  return false;
}

bool parse_valued(const char* option, const char* value, Arguments* arguments) {
  if (strcmp(option, "--batch") == 0) return (arguments->batch = value) != nullptr;
  if (strcmp(option, "--output-dir") == 0) return (arguments->output_dir = value) != nullptr;
  if (strcmp(option, "--taps") == 0) return (arguments->taps_dir = value) != nullptr;
  if (strcmp(option, "--repeat") == 0) return (arguments->repeat = parse_count(option, value, 1, 1000000)) > 0;
  if (strcmp(option, "--bucket") == 0) return (arguments->bucket = parse_count(option, value, 0, INT32_MAX)) >= 0;
  if (strcmp(option, "--threads") == 0)
    return (arguments->options.threads = static_cast<int32_t>(parse_count(option, value, 0, TC_MAX_THREADS))) >= 0;
  if (strcmp(option, "--cores") == 0) return parse_cores(value, &arguments->options.cores);
  if (strcmp(option, "--features") == 0) {
    if (tc_cpu_features_parse(value, &arguments->options.cpu_features) != 0) return true;
    fprintf(stderr, "tiercast-run: --features %s: names are", value);
    for (int32_t i = 0; i < TC_CPU_FEATURE_COUNT; ++i) fprintf(stderr, " %s", tc_cpu_feature_name(i));
    fprintf(stderr, " none\n");
    return false;
  }
  if (strcmp(option, "--input") == 0) {
    if (strchr(value, '=') == nullptr || arguments->input_count == kMaxInputs) {
      fprintf(stderr, "tiercast-run: --input %s: must be NAME=FILE, at most %d times\n", value, kMaxInputs);
      return false;
    }
    arguments->inputs[arguments->input_count++] = value;
    return true;
  }
  fprintf(stderr, "tiercast-run: unknown option %s\n%s", option, kUsage);
  return false;
}

bool parse_arguments(int count, char** words, Arguments* arguments) {
  for (int i = 1; i < count; ++i) {
    const char* word = words[i];
    if (strcmp(word, "--time") == 0) {
      arguments->time = true;
    } else if (strcmp(word, "--mark") == 0) {
      arguments->mark = true;
    } else if (strcmp(word, "--list") == 0) {
      arguments->list = true;
    } else if (strcmp(word, "--fill") == 0) {
      arguments->fill = true;
    } else if (word[0] == '-') {
      const char* value = option_value(count, words, &i);
      if (value == nullptr || !parse_valued(word, value, arguments)) return false;
    } else if (arguments->package == nullptr) {
      arguments->package = word;
    } else {
      fprintf(stderr, "tiercast-run: one package at a time: %s and %s; see --batch\n", arguments->package, word);
      return false;
    }
  }
  if ((arguments->package == nullptr) == (arguments->batch == nullptr)) {
    fprintf(stderr, "%s", kUsage);
    return false;
  }
  return true;
}

// A session with buffers for its ports.
struct Runner {
  Session session;
  tc_buffer* buffers = nullptr;  // inputs, then outputs; each 64-byte aligned
  tc_error error = {TC_OK, {0}};

  Runner() = default;
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;
  ~Runner() {
    for (int32_t i = 0; buffers != nullptr && i < session.input_count() + session.output_count(); ++i) free(buffers[i].data);
    free(buffers);
  }

  tc_buffer* outputs() { return buffers + session.input_count(); }

  tc_status open(const char* path, const tc_options& options, int32_t bucket = 0) {
    tc_status status = session.open(path, tc_library_full(), options, &error);
    if (status == TC_OK) status = session.select(bucket, &error);
    if (status == TC_OK) status = tc_session_pin_caller(session.get(), &error);
    if (status != TC_OK) return status;
    const int32_t inputs = session.input_count(), ports = inputs + session.output_count();
    buffers = static_cast<tc_buffer*>(calloc(static_cast<size_t>(ports), sizeof(tc_buffer)));
    for (int32_t i = 0; i < ports; ++i) {
      const tc_port& port = i < inputs ? session.input(i) : session.output(i - inputs);
      if (buffers == nullptr || posix_memalign(&buffers[i].data, 64, static_cast<size_t>(port.bytes == 0 ? 1 : port.bytes)) != 0)
        return fail(&error, TC_ERROR_MEMORY, "package %s: no memory for its inputs and outputs", path);
      memset(buffers[i].data, 0, static_cast<size_t>(port.bytes));
      buffers[i].bytes = port.bytes;
    }
    return TC_OK;
  }

  tc_status run() { return session.run(buffers, session.input_count(), outputs(), session.output_count(), &error); }
};

tc_status read_file(const char* path, const tc_port& port, const tc_buffer& buffer, tc_error* error) {
  FILE* file = fopen(path, "rb");
  if (file == nullptr) return fail(error, TC_ERROR_IO, "input \"%s\": %s: %s", port.name, path, strerror(errno));
  const size_t got = fread(buffer.data, 1, static_cast<size_t>(buffer.bytes), file);
  const bool more = got == buffer.bytes && fgetc(file) != EOF;
  fclose(file);
  if (got == buffer.bytes && !more) return TC_OK;
  return fail(error, TC_ERROR_ARGUMENT, "input \"%s\": %s has %s%zu bytes; it takes %llu", port.name, path, more ? "more than " : "", got,
              static_cast<unsigned long long>(buffer.bytes));
}

tc_status write_file(const char* path, const void* data, uint64_t bytes, tc_error* error) {
  FILE* file = fopen(path, "wb");
  const bool written = file != nullptr && fwrite(data, 1, static_cast<size_t>(bytes), file) == bytes;
  const bool closed = file != nullptr && fclose(file) == 0;
  return written && closed ? TC_OK : fail(error, TC_ERROR_IO, "writing %s: %s", path, strerror(errno));
}

// Creates the folder when it is not there; its parent must be.
tc_status make_dir(const char* path, tc_error* error) {
  if (mkdir(path, 0777) == 0 || errno == EEXIST) return TC_OK;
  return fail(error, TC_ERROR_IO, "creating folder %s: %s", path, strerror(errno));
}

// A fixed pattern that no layer maps to something trivial.
void fill_pattern(const tc_port& port, const tc_buffer& buffer) {
  uint32_t state = 1;
  auto* bytes = static_cast<uint8_t*>(buffer.data);
  for (uint64_t i = 0; i < buffer.bytes / static_cast<uint64_t>(tc_dtype_bytes(port.dtype)); ++i) {
    state = state * 1664525u + 1013904223u;
    if (port.dtype == TC_F32) {
      const float value = static_cast<float>(state >> 8) / 8388608.0f - 1.0f;
      memcpy(bytes + i * 4, &value, 4);
    } else if (port.dtype == TC_U8) {
      bytes[i] = static_cast<uint8_t>(state >> 24);
    }
  }
}

// Reads the inputs that --input names; fills the others, or says which is missing.
tc_status read_inputs(const Arguments& arguments, Runner* runner) {
  Session& session = runner->session;
  bool given[kMaxInputs] = {};
  for (int i = 0; i < arguments.input_count; ++i) {
    const char* name = arguments.inputs[i];
    const char* equals = strrchr(name, '=');
    int32_t port = 0;
    while (port < session.input_count() && (strlen(session.input(port).name) != static_cast<size_t>(equals - name) ||
                                            strncmp(session.input(port).name, name, static_cast<size_t>(equals - name)) != 0))
      ++port;
    if (port == session.input_count()) return fail(&runner->error, TC_ERROR_ARGUMENT, "--input %s: the package has no such input", name);
    const tc_status status = read_file(equals + 1, session.input(port), runner->buffers[port], &runner->error);
    if (status != TC_OK) return status;
    given[port] = true;
  }
  for (int32_t port = 0; port < session.input_count(); ++port) {
    if (given[port]) continue;
    if (!arguments.fill)
      return fail(&runner->error, TC_ERROR_ARGUMENT, "input \"%s\" is not given: --input %s=FILE, or --fill", session.input(port).name,
                  session.input(port).name);
    fill_pattern(session.input(port), runner->buffers[port]);
  }
  return TC_OK;
}

tc_status write_outputs(const char* dir, Runner* runner) {
  tc_status status = make_dir(dir, &runner->error);
  for (int32_t i = 0; status == TC_OK && i < runner->session.output_count(); ++i) {
    char path[4096];
    snprintf(path, sizeof(path), "%s/%d.bin", dir, i);
    status = write_file(path, runner->outputs()[i].data, runner->outputs()[i].bytes, &runner->error);
  }
  return status;
}

struct Taps {
  const char* dir;
  Runner* runner;
  tc_status status;
};

void write_taps(void* user, int64_t step, const tc_view* outputs, int32_t output_count, double) {
  Taps& taps = *static_cast<Taps*>(user);
  for (int32_t i = 0; taps.status == TC_OK && i < output_count; ++i) {
    const uint64_t bytes = tc_view_dense_bytes(&outputs[i]);
    void* dense = malloc(static_cast<size_t>(bytes));
    if (dense == nullptr) {
      taps.status = fail(&taps.runner->error, TC_ERROR_MEMORY, "--taps: no memory for %llu bytes", static_cast<unsigned long long>(bytes));
      return;
    }
    tc_view_copy_dense(&outputs[i], dense);
    char path[4096];
    snprintf(path, sizeof(path), "%s/%lld_%d.bin", taps.dir, static_cast<long long>(step), i);
    taps.status = write_file(path, dense, bytes, &taps.runner->error);
    free(dense);
  }
}

void print_text(const char* text) {
  putchar('"');
  for (const auto* c = reinterpret_cast<const unsigned char*>(text); *c != 0; ++c) {
    if (*c == '"' || *c == '\\')
      printf("\\%c", *c);
    else if (*c < 0x20)
      printf("\\u%04x", *c);
    else
      putchar(*c);
  }
  putchar('"');
}

void print_field(const char* before, const char* text) {
  fputs(before, stdout);
  print_text(text);
}

void print_port(const tc_port& port, bool first) {
  print_field(first ? "{\"name\": " : ", {\"name\": ", port.name);
  printf(", \"dtype\": \"%s\", \"dims\": [", tc_dtype_name(port.dtype));
  for (int32_t i = 0; i < port.rank; ++i) printf("%s%lld", i == 0 ? "" : ", ", static_cast<long long>(port.dims[i]));
  printf("]}");
}

void print_ports(const Session& session) {
  printf("\"inputs\": [");
  for (int32_t i = 0; i < session.input_count(); ++i) print_port(session.input(i), i == 0);
  printf("],\n \"outputs\": [");
  for (int32_t i = 0; i < session.output_count(); ++i) print_port(session.output(i), i == 0);
  printf("]");
}

// The ports of every bucket; the selection is what it was.
void print_buckets(Session* session) {
  const int32_t selected = session->bucket();
  printf(" \"bucket\": %d, \"buckets\": [", selected);
  for (int32_t i = 0; i < session->bucket_count(); ++i) {
    session->select(i, nullptr);
    printf(i == 0 ? "{" : ", {");
    print_ports(*session);
    printf("}");
  }
  session->select(selected, nullptr);
  printf("],\n");
}

void print_list(const char* path, Session* opened, uint64_t features) {
  const Session& session = *opened;
  print_field("{\"package\": ", path);
  printf(", \"cpu_features\": [");
  bool first = true;
  for (int32_t i = 0; i < TC_CPU_FEATURE_COUNT; ++i) {
    if (((features >> i) & 1) == 0) continue;
    printf("%s\"%s\"", first ? "" : ", ", tc_cpu_feature_name(i));
    first = false;
  }
  printf("],\n");
  print_buckets(opened);
  printf(" \"threads\": %d, ", tc_session_threads(session.get()));
  print_ports(session);
  printf(",\n \"arena_bytes\": %llu, \"weights_bytes\": %llu, \"prepared_bytes\": %llu, \"scratch_bytes\": %llu,\n \"steps\": [",
         static_cast<unsigned long long>(tc_session_arena_bytes(session.get())),
         static_cast<unsigned long long>(tc_session_weights_bytes(session.get())),
         static_cast<unsigned long long>(tc_session_prepared_bytes(session.get())),
         static_cast<unsigned long long>(tc_session_scratch_bytes(session.get())));
  for (int64_t i = 0; i < session.step_count(); ++i) {
    const tc_step_info info = session.step(i);
    print_field(i == 0 ? "\n  {\"name\": " : ",\n  {\"name\": ", info.name);
    print_field(", \"op\": ", info.op);
    print_field(", \"kernel\": ", info.kernel);
    print_field(", \"chosen\": ", info.chosen);
    printf(", \"macs\": %llu, \"work_items\": %lld}", static_cast<unsigned long long>(info.macs), static_cast<long long>(info.work_items));
  }
  printf("\n ]}\n");
}

double now_us() {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) * 1e-3;
}

void keep_fastest(void* user, int64_t step, const tc_view*, int32_t, double microseconds) {
  double* fastest = static_cast<double*>(user) + step;
  if (*fastest == 0 || microseconds < *fastest) *fastest = microseconds;
}

// Times `repeat` plain runs, then as many observed ones for the steps' own (fastest) times.
tc_status print_times(long repeat, Runner* runner) {
  Session& session = runner->session;
  auto* step_us = static_cast<double*>(calloc(static_cast<size_t>(session.step_count()) + 1, sizeof(double)));
  if (step_us == nullptr) return fail(&runner->error, TC_ERROR_MEMORY, "--time: no memory");
  tc_status status = TC_OK;
  printf("{\"run_us\": [");
  for (long i = 0; i < repeat && status == TC_OK; ++i) {
    const double begin = now_us();
    status = runner->run();
    printf("%s%.1f", i == 0 ? "" : ", ", now_us() - begin);
  }
  tc_session_set_observer(session.get(), keep_fastest, step_us);
  for (long i = 0; i < repeat && status == TC_OK; ++i) status = runner->run();
  tc_session_set_observer(session.get(), nullptr, nullptr);
  printf("],\n \"steps\": [");
  for (int64_t i = 0; i < session.step_count(); ++i) {
    const tc_step_info info = session.step(i);
    print_field(i == 0 ? "\n  {\"name\": " : ",\n  {\"name\": ", info.name);
    print_field(", \"kernel\": ", info.kernel);
    printf(", \"us\": %.2f}", step_us[i]);
  }
  printf("\n ]}\n");
  free(step_us);
  return status;
}

// Tells an instruction counter which region begins; 0 ends the last one. Without a counter the system knows no such call.
void mark_region(int64_t region) {
#if defined(__linux__)
  syscall(0x1EAF, region);
#else
  (void)region;
#endif
}

void mark_step(void*, int64_t step, const tc_view*, int32_t, double) { mark_region(step + 2); }

// Region i + 1 is step i; what follows the last step is one more.
tc_status run_marked(Runner* runner) {
  tc_session_set_observer(runner->session.get(), mark_step, nullptr);
  mark_region(1);
  const tc_status status = runner->run();
  mark_region(0);
  tc_session_set_observer(runner->session.get(), nullptr, nullptr);
  return status;
}

tc_status run_package(const Arguments& arguments, Runner* runner) {
  tc_status status = runner->open(arguments.package, arguments.options, static_cast<int32_t>(arguments.bucket));
  if (status != TC_OK) return status;
  if (arguments.list) {
    print_list(arguments.package, &runner->session, tc_cpu_features() & arguments.options.cpu_features);
    return TC_OK;
  }
  status = read_inputs(arguments, runner);
  if (status != TC_OK) return status;
  if (arguments.taps_dir != nullptr) {
    Taps taps = {arguments.taps_dir, runner, make_dir(arguments.taps_dir, &runner->error)};
    if (taps.status != TC_OK) return taps.status;
    tc_session_set_observer(runner->session.get(), write_taps, &taps);
    status = runner->run();
    tc_session_set_observer(runner->session.get(), nullptr, nullptr);
    if (status == TC_OK) status = taps.status;
  } else if (arguments.time) {
    status = print_times(arguments.repeat, runner);
  } else {
    for (long i = arguments.mark ? 1 : 0; i < arguments.repeat && status == TC_OK; ++i) status = runner->run();
    if (status == TC_OK && arguments.mark) status = run_marked(runner);
  }
  if (status == TC_OK && arguments.output_dir != nullptr) status = write_outputs(arguments.output_dir, runner);
  return status;
}

tc_status run_batch_line(const char* package, const char* in_dir, const char* out_dir, const tc_options& options, Runner* runner) {
  tc_status status = runner->open(package, options);
  for (int32_t i = 0; status == TC_OK && i < runner->session.input_count(); ++i) {
    char path[4096];
    snprintf(path, sizeof(path), "%s/%d.bin", in_dir, i);
    status = read_file(path, runner->session.input(i), runner->buffers[i], &runner->error);
  }
  if (status == TC_OK) status = runner->run();
  return status == TC_OK ? write_outputs(out_dir, runner) : status;
}

// Runs every line of the list, printing `ok PACKAGE` or `failed PACKAGE: why`. Returns the first failure's status.
tc_status run_batch(const Arguments& arguments) {
  FILE* list = fopen(arguments.batch, "r");
  if (list == nullptr) {
    fprintf(stderr, "tiercast-run: --batch %s: %s\n", arguments.batch, strerror(errno));
    return TC_ERROR_IO;
  }
  tc_status first = TC_OK;
  char line[12288], package[4096], in_dir[4096], out_dir[4096];
  while (fgets(line, sizeof(line), list) != nullptr) {
    if (line[strspn(line, " \t\n")] == 0) continue;
    Runner runner;
    tc_status status = TC_ERROR_ARGUMENT;
    if (sscanf(line, "%4095s %4095s %4095s", package, in_dir, out_dir) == 3)
      status = run_batch_line(package, in_dir, out_dir, arguments.options, &runner);
    else
      fail(&runner.error, status, "a line of --batch must be `package in_dir out_dir`: %.200s", line);
    if (status == TC_OK)
      printf("ok %s\n", package);
    else
      printf("failed %s: %s\n", package, runner.error.message);
    fflush(stdout);
    if (first == TC_OK) first = status;
  }
  fclose(list);
  return first;
}

}  // namespace

int main(int count, char** words) {
  static Arguments arguments;  // large
  if (count == 2 && strcmp(words[1], "--help") == 0) {
    printf("%s", kUsage);
    return 0;
  }
  if (!parse_arguments(count, words, &arguments)) return 1 + TC_ERROR_ARGUMENT;
  if (arguments.batch != nullptr) {
    const tc_status status = run_batch(arguments);
    return status == TC_OK ? 0 : 1 + status;
  }
  Runner runner;
  const tc_status status = run_package(arguments, &runner);
  if (status == TC_OK) return 0;
  fprintf(stderr, "tiercast-run: %s\n", runner.error.message);
  return 1 + status;
}
