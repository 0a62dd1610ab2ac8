// Extents of the three gathers, shared by check and run.
#ifndef TIERCAST_GATHER_GATHER_H_
#define TIERCAST_GATHER_GATHER_H_

#include "gather_params.h"
#include "views/rules.h"

namespace {

// gather_nd: tuples of `depth` indices into axes [batch, batch + depth) of x, `inner` elements behind each.
struct Tuples {
  int64_t batches, tuples, depth, inner;
};

inline Tuples tuples_of(const tc_call* call) {
  const tc_view& x = call->inputs[0];
  const tc_view& indices = call->inputs[1];
  const int batch = static_cast<const tc_gather_params*>(call->params)->batch_dims;
  const int depth = static_cast<int>(indices.dims[indices.rank - 1]);
  return {span(indices, 0, batch), span(indices, batch, indices.rank - 1), depth, span(x, batch + depth, x.rank)};
}

}  // namespace

#endif
