// A verified plan made ready to run: views with addresses, and a kernel bound to every step.
#ifndef TIERCAST_SRC_PROGRAM_H_
#define TIERCAST_SRC_PROGRAM_H_

#include "package.h"

namespace tiercast {

struct BoundStep {
  const tc_kernel* kernel;
  tc_call call;  // scratch is set per thread when it runs
  int64_t work_items;
  bool shared;  // worth waking the other threads for
};

// A view whose address is known only when the caller gives its buffers.
struct PortView {
  tc_view* view;
  uint64_t offset;
  uint32_t port;
  bool is_output;
};

struct Program {
  BoundStep* prepare = nullptr;  // run once when the session opens; `steps` lie behind them
  BoundStep* steps = nullptr;
  tc_view* views = nullptr;  // of all operands of all steps
  PortView* port_views = nullptr;
  int64_t prepare_count = 0, step_count = 0, view_count = 0, port_view_count = 0;
  uint64_t scratch_bytes = 0;  // the most that one step wants per thread
};

// Builds the views of a plan of the package and binds each step: the kernel the plan chose when the library has it, the CPU (`features`)
// can run it and its check accepts; else the first row of the same op for which that holds. TC_ERROR_KERNEL names the step, its op and why
// every row was refused. On failure *program is freed.
tc_status program_bind(const Package& package, uint32_t bucket, const tc_library* library, uint64_t features, Program* program,
                       tc_error* error);

// Gives the views of arena and prepared tensors their addresses.
void program_place(const fb::Plan& plan, uint8_t* arena, uint8_t* prepared, Program* program);

void program_free(Program* program);

}  // namespace tiercast
#endif
