#include "program.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "tiercast/cpu.h"
#include "verify.h"

namespace tiercast {
namespace {

// A step of these sizes takes a fast core about 1.5 microseconds; sharing it costs half a microsecond.
constexpr uint64_t kSharedMacs = 32768, kSharedElements = 8192;

alignas(8) constexpr uint8_t kNoParams[8] = {};

// All steps of a plan in one row: the prepare steps, then those of a run.
uint32_t step_total(const fb::Plan& plan) { return length(plan.prepare()) + length(plan.steps()); }
const fb::Step& step_at(const fb::Plan& plan, uint32_t index) {
  const uint32_t prepares = length(plan.prepare());
  return index < prepares ? *plan.prepare()->Get(index) : *plan.steps()->Get(index - prepares);
}

// Where operands without `constant` point during `check`: a page that is never mapped, so that a check which looks is found out.
void* nowhere() { return reinterpret_cast<void*>(uintptr_t{64}); }

// `count` zeroed objects of a trivial type; never NULL for a count of 0.
template <typename T>
T* make_array(uint64_t count) {
  return count > SIZE_MAX / sizeof(T) ? nullptr : static_cast<T*>(calloc(count == 0 ? 1 : static_cast<size_t>(count), sizeof(T)));
}

// Appends printf-formatted text to a list of reasons, cut to fit.
struct Reasons {
  char text[1400] = {};
  size_t used = 0;

  void add(const char* format, ...) __attribute__((format(printf, 2, 3))) {
    if (used + 1 >= sizeof(text)) return;
    va_list arguments;
    va_start(arguments, format);
    const int written = vsnprintf(text + used, sizeof(text) - used, format, arguments);
    va_end(arguments);
    if (written > 0) used += static_cast<size_t>(written);
    if (used >= sizeof(text)) used = sizeof(text) - 1;
  }
};

// "needs dotprod, i8mm": the features of `missing`.
void add_missing(uint64_t missing, Reasons* reasons) {
  reasons->add("needs");
  for (int32_t i = 0; i < TC_CPU_FEATURE_COUNT; ++i)
    if ((missing >> i) & 1) reasons->add(" %s", tc_cpu_feature_name(i));
  reasons->add(", which this CPU or session has not");
}

// Fills one operand's view. Only weights have their address yet.
void fill_view(const Package& package, const fb::Plan& plan, int32_t tensor_index, tc_view* view) {
  if (tensor_index < 0) return;  // absent: all zero
  const fb::Tensor& tensor = *plan.tensors()->Get(static_cast<uint32_t>(tensor_index));
  view->dtype = static_cast<int32_t>(tensor.dtype());
  view->rank = static_cast<int32_t>(length(tensor.dims()));
  for (int32_t i = 0; i < view->rank; ++i) {
    view->dims[i] = tensor.dims()->Get(static_cast<uint32_t>(i));
    view->strides[i] = tensor.strides()->Get(static_cast<uint32_t>(i));
  }
  view->constant = tensor.place() == fb::Place::weights ? 1 : 0;
  view->data = view->constant != 0 ? const_cast<uint8_t*>(package.weights + tensor.offset()) : nowhere();
}

uint64_t element_count(const tc_view& view) {
  uint64_t count = 1;
  for (int32_t i = 0; i < view.rank; ++i) count *= static_cast<uint64_t>(view.dims[i]);
  return count;
}

// Whether `kernel` can do the step; on yes its work is counted, on no the reason is added.
bool accepts(const tc_kernel& kernel, uint64_t features, bool in_place, BoundStep* step, Reasons* reasons) {
  if ((kernel.needs & ~features) != 0) {
    reasons->add("\n  %s: ", kernel.name);
    add_missing(kernel.needs & ~features, reasons);
    return false;
  }
  if (in_place && (kernel.flags & TC_KERNEL_IN_PLACE) == 0) {
    reasons->add("\n  %s: does not work in place", kernel.name);
    return false;
  }
  const char* refusal = kernel.check(&step->call);
  if (refusal != nullptr) {
    reasons->add("\n  %s: %s", kernel.name, refusal);
    return false;
  }
  step->work_items = kernel.work(&step->call);
  if (step->work_items < 1) {
    reasons->add("\n  %s: has no work to do", kernel.name);
    return false;
  }
  step->kernel = &kernel;
  return true;
}

const tc_kernel* find_kernel(const tc_library& library, const char* op, const char* name) {
  for (int64_t i = 0; i < library.count; ++i)
    if (strcmp(library.kernels[i]->name, name) == 0 && strcmp(library.kernels[i]->op, op) == 0) return library.kernels[i];
  return nullptr;
}

// The value of one of the plan's facts, or NULL.
const char* find_fact(const fb::Plan& plan, const char* key) {
  for (uint32_t i = 0; i < length(plan.facts()); ++i)
    if (strcmp(text(plan.facts()->Get(i)->key()), key) == 0) return text(plan.facts()->Get(i)->value());
  return nullptr;
}

// Binds step number `index` of a bucket, whose views are filled.
tc_status bind_step(const Package& package, uint32_t bucket, uint32_t index, const tc_library& library, uint64_t features, BoundStep* step,
                    tc_error* error) {
  const fb::Plan& plan = plan_at(package, bucket);
  const fb::Step& planned = step_at(plan, index);
  const char* op = text(planned.op());
  const bool in_place = is_in_place(plan, planned);
  Reasons reasons;
  for (uint32_t i = 0; i < length(planned.better()); ++i) {
    const tc_kernel* better = find_kernel(library, op, text(planned.better()->Get(i)));
    if (better != nullptr && accepts(*better, features, in_place, step, &reasons)) return TC_OK;
  }
  const tc_kernel* chosen = find_kernel(library, op, text(planned.kernel()));
  if (chosen != nullptr && accepts(*chosen, features, in_place, step, &reasons)) return TC_OK;
  bool op_known = chosen != nullptr;
  for (int64_t i = 0; i < library.count; ++i) {
    const tc_kernel* row = library.kernels[i];
    if (row == chosen || strcmp(row->op, op) != 0) continue;
    op_known = true;
    if (accepts(*row, features, in_place, step, &reasons)) return TC_OK;
  }
  const char* extra = op_known ? nullptr : find_fact(plan, "extra_kernels");
  if (extra != nullptr)
    reasons.add(
        "\n  the package calls extra kernels (%.300s) that this library for %s has not: build one with "
        "`tiercast build --target %.40s --for` this package",
        extra, library.target, text(plan.target()));
  else if (!op_known)
    reasons.add("\n  the library for %s has no kernel of this op: build it from the Tiercast version that made the package",
                library.target);
  const uint32_t prepares = length(plan.prepare());
  return fail(error, TC_ERROR_KERNEL, "%s%s %sstep %u \"%.80s\" (%.80s): no kernel can do it:%s", package.label,
              bucket_text(package, bucket).chars, index < prepares ? "prepare " : "", index < prepares ? index : index - prepares,
              text(planned.name()), op, reasons.text);
}

// Counts views, and those among them that live in the caller's buffers.
void count_views(const fb::Plan& plan, Program* program) {
  for (uint32_t i = 0; i < step_total(plan); ++i) {
    const fb::Step& step = step_at(plan, i);
    for (const auto* operands : {step.inputs(), step.outputs()}) {
      for (uint32_t j = 0; j < length(operands); ++j) {
        ++program->view_count;
        if (operands->Get(j) < 0) continue;
        const fb::Place place = plan.tensors()->Get(static_cast<uint32_t>(operands->Get(j)))->place();
        if (place == fb::Place::input || place == fb::Place::output) ++program->port_view_count;
      }
    }
  }
}

// Fills the call of one step; its views begin at `views`. Returns one past its last view.
tc_view* fill_call(const Package& package, const fb::Plan& plan, const fb::Step& planned, tc_view* views, tc_call* call) {
  call->inputs = views;
  call->input_count = static_cast<int32_t>(length(planned.inputs()));
  for (int32_t i = 0; i < call->input_count; ++i) fill_view(package, plan, planned.inputs()->Get(static_cast<uint32_t>(i)), views++);
  call->outputs = views;
  call->output_count = static_cast<int32_t>(length(planned.outputs()));
  for (int32_t i = 0; i < call->output_count; ++i) fill_view(package, plan, planned.outputs()->Get(static_cast<uint32_t>(i)), views++);
  call->params = length(planned.params()) == 0 ? kNoParams : planned.params()->data();
  call->params_bytes = length(planned.params());
  call->scratch_bytes = static_cast<int64_t>(planned.scratch_bytes());
  return views;
}

tc_status bind_all(const Package& package, uint32_t bucket, const tc_library& library, uint64_t features, Program* program,
                   tc_error* error) {
  tc_view* views = program->views;
  const fb::Plan& plan = plan_at(package, bucket);
  for (uint32_t i = 0; i < step_total(plan); ++i) {
    const fb::Step& planned = step_at(plan, i);
    BoundStep* step = &program->prepare[i];
    views = fill_call(package, plan, planned, views, &step->call);
    const tc_status status = bind_step(package, bucket, i, library, features, step, error);
    if (status != TC_OK) return status;
    step->shared = step->work_items > 1 && (planned.macs() >= kSharedMacs || element_count(step->call.outputs[0]) >= kSharedElements);
    if (planned.scratch_bytes() > program->scratch_bytes) program->scratch_bytes = planned.scratch_bytes();
  }
  return TC_OK;
}

}  // namespace

tc_status program_bind(const Package& package, uint32_t bucket, const tc_library* library, uint64_t features, Program* program,
                       tc_error* error) {
  const fb::Plan& plan = plan_at(package, bucket);
  program->prepare_count = length(plan.prepare());
  program->step_count = length(plan.steps());
  count_views(plan, program);
  program->prepare = make_array<BoundStep>(step_total(plan));
  program->steps = program->prepare == nullptr ? nullptr : program->prepare + program->prepare_count;
  program->views = make_array<tc_view>(static_cast<uint64_t>(program->view_count));
  program->port_views = make_array<PortView>(static_cast<uint64_t>(program->port_view_count));
  tc_status status = TC_ERROR_MEMORY;
  if (program->steps == nullptr || program->views == nullptr || program->port_views == nullptr)
    fail(error, status, "%s: no memory for %lld steps with %lld operands", package.label, static_cast<long long>(program->step_count),
         static_cast<long long>(program->view_count));
  else
    status = bind_all(package, bucket, *library, features, program, error);
  if (status != TC_OK) program_free(program);
  return status;
}

void program_place(const fb::Plan& plan, uint8_t* arena, uint8_t* prepared, Program* program) {
  tc_view* view = program->views;
  PortView* port_view = program->port_views;
  for (uint32_t i = 0; i < step_total(plan); ++i) {
    const fb::Step& step = step_at(plan, i);
    for (const auto* operands : {step.inputs(), step.outputs()}) {
      for (uint32_t j = 0; j < length(operands); ++j, ++view) {
        if (operands->Get(j) < 0) continue;
        const fb::Tensor& tensor = *plan.tensors()->Get(static_cast<uint32_t>(operands->Get(j)));
        if (tensor.place() == fb::Place::arena) view->data = arena + tensor.offset();
        if (tensor.place() == fb::Place::prepared) view->data = prepared + tensor.offset();
        if (tensor.place() == fb::Place::input) *port_view++ = {view, tensor.offset(), tensor.index(), false};
        if (tensor.place() == fb::Place::output) *port_view++ = {view, tensor.offset(), tensor.index(), true};
      }
    }
  }
}

void program_free(Program* program) {
  free(program->prepare);
  free(program->views);
  free(program->port_views);
  *program = Program();
}

}  // namespace tiercast
