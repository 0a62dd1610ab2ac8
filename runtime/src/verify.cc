#include "verify.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "checked.h"
#include "error.h"
#include "overlap.h"

namespace tiercast {
namespace {

unsigned long long ull(uint64_t value) { return value; }

// Whether 8-byte numbers can be read from the vector. FlatBuffers' verifier only looks after its length field.
bool is_aligned(const flatbuffers::Vector<int64_t>* numbers) {
  return length(numbers) == 0 || reinterpret_cast<uintptr_t>(numbers->data()) % sizeof(int64_t) == 0;
}

// A list of dims as text, "1x3x256x256"; cut with "..." when long.
struct DimsText {
  char chars[96];
};

DimsText dims_text(const flatbuffers::Vector<int64_t>* dims) {
  DimsText text = {"scalar"};
  size_t used = 0;
  for (uint32_t i = 0; i < length(dims); ++i) {
    if (used + 24 > sizeof(text.chars)) {
      snprintf(text.chars + used, sizeof(text.chars) - used, "...");
      break;
    }
    const int written =
        snprintf(text.chars + used, sizeof(text.chars) - used, "%s%lld", i == 0 ? "" : "x", static_cast<long long>(dims->Get(i)));
    used += static_cast<size_t>(written);
  }
  return text;
}

bool same_place(const fb::Tensor& a, const fb::Tensor& b) {
  const bool numbered = a.place() == fb::Place::input || a.place() == fb::Place::output;
  return a.place() == b.place() && (!numbered || a.index() == b.index());
}

// A verified tensor as bytes of its place.
ByteView byte_view(const fb::Tensor& tensor) {
  ByteView view = {};
  view.begin = tensor.offset();
  view.element_bytes = static_cast<uint64_t>(tc_dtype_bytes(static_cast<int32_t>(tensor.dtype())));
  view.rank = static_cast<int32_t>(length(tensor.dims()));
  for (uint32_t i = 0; i < length(tensor.dims()); ++i) {
    view.dims[i] = static_cast<uint64_t>(tensor.dims()->Get(i));
    view.strides[i] = static_cast<uint64_t>(tensor.strides()->Get(i)) * view.element_bytes;
  }
  return view;
}

// Whether two lists of ports are alike in number, names and dtypes.
bool same_ports(const flatbuffers::Vector<flatbuffers::Offset<fb::Port>>* a, const flatbuffers::Vector<flatbuffers::Offset<fb::Port>>* b) {
  if (length(a) != length(b)) return false;
  for (uint32_t i = 0; i < length(a); ++i)
    if (a->Get(i)->dtype() != b->Get(i)->dtype() || strcmp(text(a->Get(i)->name()), text(b->Get(i)->name())) != 0) return false;
  return true;
}

// Whether two plans of the same ports take inputs of the same dims.
bool same_dims(const fb::Plan& a, const fb::Plan& b) {
  for (uint32_t i = 0; i < length(a.inputs()); ++i) {
    const auto *left = a.inputs()->Get(i)->dims(), *right = b.inputs()->Get(i)->dims();
    bool same = length(left) == length(right);
    for (uint32_t j = 0; same && j < length(left); ++j) same = left->Get(j) == right->Get(j);
    if (!same) return false;
  }
  return true;
}

// One plan being verified: where errors go, and what they are prefixed with.
class PlanVerifier {
 public:
  PlanVerifier(const Package& package, uint32_t bucket, tc_error* error)
      : package_(package), bucket_(bucket), plan_(plan_at(package, bucket)), error_(error) {}

  tc_status run() {
    if (verify_counts() != TC_OK) return status_;
    for (uint32_t i = 0; i < length(plan_.inputs()); ++i)
      if (verify_port("input", i, plan_.inputs()->Get(i)) != TC_OK) return status_;
    for (uint32_t i = 0; i < length(plan_.outputs()); ++i)
      if (verify_port("output", i, plan_.outputs()->Get(i)) != TC_OK) return status_;
    for (uint32_t i = 0; i < length(plan_.tensors()); ++i)
      if (verify_tensor(i, *plan_.tensors()->Get(i)) != TC_OK) return status_;
    preparing_ = true;
    for (uint32_t i = 0; i < length(plan_.prepare()); ++i)
      if (verify_step(i, *plan_.prepare()->Get(i)) != TC_OK) return status_;
    preparing_ = false;
    for (uint32_t i = 0; i < length(plan_.steps()); ++i)
      if (verify_step(i, *plan_.steps()->Get(i)) != TC_OK) return status_;
    return TC_OK;
  }

 private:
  // Refuses with the rest of the sentence after the package's name.
  tc_status refuse(const char* format, ...) __attribute__((format(printf, 2, 3))) {
    char sentence[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof(sentence), format, arguments);
    va_end(arguments);
    status_ = fail(error_, TC_ERROR_PACKAGE, "%s%s %s", package_.label, bucket_text(package_, bucket_).chars, sentence);
    return status_;
  }

  tc_status verify_counts() {
    const uint32_t tensors = length(plan_.tensors()), steps = length(plan_.steps()), prepares = length(plan_.prepare());
    if (tensors > kMaxCount || steps > kMaxCount || prepares > kMaxCount)
      return refuse("plan: %u tensors, %u steps and %u prepare steps; the limit of each is %u", tensors, steps, prepares, kMaxCount);
    const uint32_t inputs = length(plan_.inputs()), outputs = length(plan_.outputs());
    if (inputs > kMaxPorts || outputs > kMaxPorts || outputs == 0)
      return refuse("plan: %u inputs and %u outputs; the limit of each is %u, and there must be an output", inputs, outputs, kMaxPorts);
    const uint64_t limit = kMaxArenaBytes < SIZE_MAX / 4 ? kMaxArenaBytes : SIZE_MAX / 4;
    if (plan_.arena_bytes() > limit || plan_.prepared_bytes() > limit)
      return refuse("plan: arena of %llu bytes and %llu bytes of prepared constants; the limit of each is %llu", ull(plan_.arena_bytes()),
                    ull(plan_.prepared_bytes()), ull(limit));
    if (plan_.cores() > fb::Cores::MAX || plan_.max_threads() > TC_MAX_THREADS)
      return refuse("plan: cores is %d and max_threads %u; there are %d kinds of cores and at most %d threads",
                    static_cast<int>(plan_.cores()), plan_.max_threads(), static_cast<int>(fb::Cores::MAX) + 1, TC_MAX_THREADS);
    return TC_OK;
  }

  // `port` of the inputs or outputs (`direction`) has a known dtype and dense dims within the limits.
  tc_status verify_port(const char* direction, uint32_t index, const fb::Port* port) {
    const auto dtype = static_cast<int32_t>(port->dtype());
    if (tc_dtype_bytes(dtype) == 0) return refuse("%s %u \"%.80s\": unknown dtype %d", direction, index, text(port->name()), dtype);
    if (!is_aligned(port->dims())) return refuse("%s %u \"%.80s\": dims are not 8-byte aligned", direction, index, text(port->name()));
    uint64_t bytes = 0;
    if (!dense_bytes(port->dims(), dtype, &bytes))
      return refuse("%s %u \"%.80s\": dims %s: rank must be <= %d, each dim in [0, 2^31), the size within limits", direction, index,
                    text(port->name()), dims_text(port->dims()).chars, TC_MAX_RANK);
    return TC_OK;
  }

  // Bytes of the place a tensor lives in, or false when it names a port that does not exist.
  bool place_bytes(const fb::Tensor& tensor, uint64_t* bytes) const {
    switch (tensor.place()) {
      case fb::Place::arena:
        *bytes = plan_.arena_bytes();
        return true;
      case fb::Place::weights:
        *bytes = package_.weights_bytes;
        return true;
      case fb::Place::prepared:
        *bytes = plan_.prepared_bytes();
        return true;
      case fb::Place::input:
      case fb::Place::output: {
        const auto* ports = tensor.place() == fb::Place::input ? plan_.inputs() : plan_.outputs();
        if (tensor.index() >= length(ports)) return false;
        const fb::Port& port = *ports->Get(tensor.index());
        return dense_bytes(port.dims(), static_cast<int32_t>(port.dtype()), bytes);
      }
    }
    return false;
  }

  tc_status verify_tensor(uint32_t index, const fb::Tensor& tensor) {
    const char* name = text(tensor.name());
    const auto dtype = static_cast<int32_t>(tensor.dtype());
    const auto element_bytes = static_cast<uint64_t>(tc_dtype_bytes(dtype));
    if (element_bytes == 0) return refuse("tensor %u \"%.80s\": unknown dtype %d", index, name, dtype);
    const uint32_t rank = length(tensor.dims());
    if (rank > TC_MAX_RANK || length(tensor.strides()) != rank)
      return refuse("tensor %u \"%.80s\": rank %u with %u strides; rank must be <= %d with as many strides", index, name, rank,
                    length(tensor.strides()), TC_MAX_RANK);
    if (!is_aligned(tensor.dims()) || !is_aligned(tensor.strides()))
      return refuse("tensor %u \"%.80s\": dims or strides are not 8-byte aligned", index, name);
    uint64_t place_size = 0;
    if (!place_bytes(tensor, &place_size))
      return refuse("tensor %u \"%.80s\": lives in place %u number %u, which does not exist", index, name,
                    static_cast<unsigned>(tensor.place()), tensor.index());
    if (tensor.offset() % element_bytes != 0)
      return refuse("tensor %u \"%.80s\": offset %llu is not a multiple of its element's %llu bytes", index, name, ull(tensor.offset()),
                    ull(element_bytes));
    return verify_extent(index, tensor, element_bytes, place_size) == TC_OK ? verify_perm(index, tensor) : status_;
  }

  // Every element lies within [0, place_size).
  tc_status verify_extent(uint32_t index, const fb::Tensor& tensor, uint64_t element_bytes, uint64_t place_size) {
    uint64_t elements = 1, last = 0;  // `last`: the largest element index, counted from `offset`
    bool fits = true;
    for (uint32_t i = 0; i < length(tensor.dims()); ++i) {
      const int64_t dim = tensor.dims()->Get(i), stride = tensor.strides()->Get(i);
      if (dim < 1 || static_cast<uint64_t>(dim) > kMaxDim || stride < 0 || static_cast<uint64_t>(stride) > kMaxStride)
        return refuse("tensor %u \"%.80s\": dim %u is %lld with stride %lld; dims must be in [1, 2^31), strides in [0, 2^40]", index,
                      text(tensor.name()), i, static_cast<long long>(dim), static_cast<long long>(stride));
      uint64_t reach = 0;
      fits = fits && checked_mul(elements, static_cast<uint64_t>(dim), &elements) && elements <= kMaxElements;
      fits = fits && checked_mul(static_cast<uint64_t>(dim - 1), static_cast<uint64_t>(stride), &reach) && checked_add(last, reach, &last);
    }
    uint64_t end = 0;
    fits = fits && checked_add(last, 1, &end) && checked_mul(end, element_bytes, &end) && checked_add(end, tensor.offset(), &end);
    if (!fits || end > place_size)
      return refuse("tensor %u \"%.80s\": dims %s, strides %s at offset %llu reach beyond the %llu bytes of their place (%s %u)", index,
                    text(tensor.name()), dims_text(tensor.dims()).chars, dims_text(tensor.strides()).chars, ull(tensor.offset()),
                    ull(place_size), fb::EnumNamePlace(tensor.place()), tensor.index());
    return TC_OK;
  }

  tc_status verify_perm(uint32_t index, const fb::Tensor& tensor) {
    const uint32_t count = length(tensor.perm());
    if (count == 0) return TC_OK;
    uint32_t seen = 0;
    for (uint32_t i = 0; i < count && count == length(tensor.dims()); ++i)
      if (tensor.perm()->Get(i) < count) seen |= 1u << tensor.perm()->Get(i);
    if (count != length(tensor.dims()) || seen != (1u << count) - 1)
      return refuse("tensor %u \"%.80s\": perm of %u entries is not a permutation of its %u dims", index, text(tensor.name()), count,
                    length(tensor.dims()));
    return TC_OK;
  }

  tc_status verify_step(uint32_t index, const fb::Step& step) {
    const uint32_t inputs = length(step.inputs()), outputs = length(step.outputs()), params = length(step.params());
    operands_ += inputs + outputs;
    if (inputs > TC_MAX_OPERANDS || outputs > TC_MAX_OPERANDS || outputs == 0 || operands_ > kMaxCount)
      return refuse_step(index, step, "%u inputs and %u outputs; at most %d of each, at least one output, %u in all steps", inputs, outputs,
                         TC_MAX_OPERANDS, kMaxCount);
    if (params > kMaxParamsBytes || (params != 0 && reinterpret_cast<uintptr_t>(step.params()->data()) % 4 != 0))
      return refuse_step(index, step, "%u bytes of params; at most %u, 4-byte aligned", params, kMaxParamsBytes);
    if (step.scratch_bytes() > kMaxArenaBytes || step.scratch_bytes() > SIZE_MAX / 2)
      return refuse_step(index, step, "%llu bytes of scratch; the limit is %llu", ull(step.scratch_bytes()), ull(kMaxArenaBytes));
    const int32_t tensors = static_cast<int32_t>(length(plan_.tensors()));
    for (uint32_t i = 0; i < inputs; ++i)
      if (step.inputs()->Get(i) < -1 || step.inputs()->Get(i) >= tensors)
        return refuse_step(index, step, "input %u is tensor %d; the plan has %d", i, step.inputs()->Get(i), tensors);
    for (uint32_t i = 0; i < outputs; ++i)
      if (step.outputs()->Get(i) < 0 || step.outputs()->Get(i) >= tensors)
        return refuse_step(index, step, "output %u is tensor %d; the plan has %d", i, step.outputs()->Get(i), tensors);
    for (uint32_t i = 0; i < inputs && preparing_; ++i)
      if (verify_prepare_input(index, step, step.inputs()->Get(i)) != TC_OK) return status_;
    for (uint32_t i = 0; i < outputs; ++i)
      if (verify_output(index, step, i) != TC_OK) return status_;
    return TC_OK;
  }

  // A prepare step runs before there are inputs, and once: what it reads never changes.
  tc_status verify_prepare_input(uint32_t index, const fb::Step& step, int32_t tensor) {
    if (tensor < 0) return TC_OK;
    const fb::Tensor& input = tensor_at(tensor);
    if (input.place() == fb::Place::weights || input.place() == fb::Place::prepared) return TC_OK;
    return refuse_step(index, step, "reads \"%.80s\", which lives in the %s; it may read weights and prepared tensors", text(input.name()),
                       fb::EnumNamePlace(input.place()));
  }

  // Output number `number` may be written while the step's inputs are read and its other outputs written.
  tc_status verify_output(uint32_t index, const fb::Step& step, uint32_t number) {
    const fb::Tensor& output = tensor_at(step.outputs()->Get(number));
    const bool written_in_run = output.place() == fb::Place::arena || output.place() == fb::Place::output;
    if (preparing_ ? output.place() != fb::Place::prepared : !written_in_run)
      return refuse_step(index, step, "writes \"%.80s\", which lives among the %s", text(output.name()), fb::EnumNamePlace(output.place()));
    const ByteView written = byte_view(output);
    if (!injective(written))
      return refuse_step(index, step, "writes \"%.80s\" with dims %s and strides %s, whose elements overlap each other",
                         text(output.name()), dims_text(output.dims()).chars, dims_text(output.strides()).chars);
    for (uint32_t i = 0; i < length(step.inputs()); ++i) {
      if (step.inputs()->Get(i) < 0) continue;
      const fb::Tensor& input = tensor_at(step.inputs()->Get(i));
      const ByteView read = byte_view(input);
      if (same_place(input, output) && !same_view(read, written) && !disjoint(read, written))
        return refuse_overlap(index, step, output, "reads", input);
    }
    for (uint32_t i = 0; i < number; ++i) {
      const fb::Tensor& other = tensor_at(step.outputs()->Get(i));
      if (same_place(other, output) && !disjoint(byte_view(other), written)) return refuse_overlap(index, step, output, "writes", other);
    }
    return TC_OK;
  }

  tc_status refuse_overlap(uint32_t index, const fb::Step& step, const fb::Tensor& output, const char* verb, const fb::Tensor& other) {
    return refuse_step(index, step,
                       "writes \"%.80s\" (%s, strides %s, %s %u offset %llu) over \"%.80s\", which it %s (%s, strides %s, offset %llu)",
                       text(output.name()), dims_text(output.dims()).chars, dims_text(output.strides()).chars,
                       fb::EnumNamePlace(output.place()), output.index(), ull(output.offset()), text(other.name()), verb,
                       dims_text(other.dims()).chars, dims_text(other.strides()).chars, ull(other.offset()));
  }

  tc_status refuse_step(uint32_t index, const fb::Step& step, const char* format, ...) __attribute__((format(printf, 4, 5))) {
    char sentence[768];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof(sentence), format, arguments);
    va_end(arguments);
    return refuse("%sstep %u \"%.80s\" (%.80s): %s", preparing_ ? "prepare " : "", index, text(step.name()), text(step.op()), sentence);
  }

  const fb::Tensor& tensor_at(int32_t index) const { return *plan_.tensors()->Get(static_cast<uint32_t>(index)); }

  const Package& package_;
  const uint32_t bucket_;
  const fb::Plan& plan_;
  tc_error* error_;
  tc_status status_ = TC_OK;
  uint64_t operands_ = 0;
  bool preparing_ = false;  // the step being verified is a prepare step
};

}  // namespace

bool dense_bytes(const flatbuffers::Vector<int64_t>* dims, int32_t dtype, uint64_t* bytes) {
  if (length(dims) > TC_MAX_RANK) return false;
  uint64_t product = 1;
  for (uint32_t i = 0; i < length(dims); ++i) {
    const int64_t dim = dims->Get(i);
    if (dim < 0 || static_cast<uint64_t>(dim) > kMaxDim || !checked_mul(product, static_cast<uint64_t>(dim), &product)) return false;
    if (product > kMaxElements) return false;
  }
  *bytes = product * static_cast<uint64_t>(tc_dtype_bytes(dtype));
  return *bytes <= SIZE_MAX / 2;
}

bool is_in_place(const fb::Plan& plan, const fb::Step& step) {
  for (uint32_t i = 0; i < length(step.outputs()); ++i) {
    const fb::Tensor& output = *plan.tensors()->Get(static_cast<uint32_t>(step.outputs()->Get(i)));
    for (uint32_t j = 0; j < length(step.inputs()); ++j) {
      if (step.inputs()->Get(j) < 0) continue;
      const fb::Tensor& input = *plan.tensors()->Get(static_cast<uint32_t>(step.inputs()->Get(j)));
      if (same_place(input, output) && same_view(byte_view(input), byte_view(output))) return true;
    }
  }
  return false;
}

tc_status verify_model(const Package& package, tc_error* error) {
  const uint32_t plans = plan_count(package);
  if (plans < 1 || plans > kMaxPlans)
    return fail(error, TC_ERROR_PACKAGE, "%s: %u plans; there must be 1 to %u", package.label, plans, kMaxPlans);
  for (uint32_t bucket = 0; bucket < plans; ++bucket) {
    const tc_status status = PlanVerifier(package, bucket, error).run();
    if (status != TC_OK) return status;
    const fb::Plan &plan = plan_at(package, bucket), &first = plan_at(package, 0);
    if (!same_ports(plan.inputs(), first.inputs()) || !same_ports(plan.outputs(), first.outputs()))
      return fail(error, TC_ERROR_PACKAGE, "%s bucket %u: its inputs or outputs differ from those of bucket 0 in more than dims",
                  package.label, bucket);
    for (uint32_t other = 0; other < bucket; ++other)
      if (same_dims(plan, plan_at(package, other)))
        return fail(error, TC_ERROR_PACKAGE, "%s: buckets %u and %u take the same input shapes", package.label, other, bucket);
  }
  return TC_OK;
}

}  // namespace tiercast
