// The loop nest of a copy, shared by check and rows: axes with their input and output strides, simplified.
#ifndef TIERCAST_COPY_COPY_H_
#define TIERCAST_COPY_COPY_H_

#include "copy_params.h"
#include "views/rules.h"

namespace {

// y[Σ i_k out_k] = x[offset + Σ i_k in_k] for i_k < dims_k.
struct Nest {
  int rank;
  int64_t dims[TC_MAX_RANK], in[TC_MAX_RANK], out[TC_MAX_RANK];
  int64_t offset;
};

// Axes of a view merged where one continues the other, innermost last.
inline Nest runs_of(const tc_view& v) {
  Nest runs = {};
  for (int i = 0; i < v.rank; ++i) {
    if (v.dims[i] == 1) continue;
    const bool merges = runs.rank > 0 && runs.out[runs.rank - 1] == v.strides[i] * v.dims[i];
    if (!merges) runs.dims[runs.rank++] = 1;
    runs.dims[runs.rank - 1] *= v.dims[i];
    runs.out[runs.rank - 1] = v.strides[i];
  }
  return runs;
}

// Gives each of the nest's dims its stride in y, whose axes they split; false when they do not.
inline bool split_output(const tc_view& y, Nest& nest) {
  const Nest runs = runs_of(y);
  int run = runs.rank;
  int64_t rest = 1, step = 0;
  for (int i = nest.rank - 1; i >= 0; --i) {
    nest.out[i] = 0;
    if (nest.dims[i] == 1) continue;
    if (rest == 1) {
      if (--run < 0) return false;
      rest = runs.dims[run];
      step = runs.out[run];
    }
    if (rest % nest.dims[i] != 0) return false;
    nest.out[i] = step;
    step *= nest.dims[i];
    rest /= nest.dims[i];
  }
  return run <= 0 && rest == 1;
}

// The nest of a call as its params say it; false when dims and output do not agree.
inline bool nest_of(const tc_call* call, Nest& nest) {
  const tc_copy_params& p = *static_cast<const tc_copy_params*>(call->params);
  const tc_view& x = call->inputs[0];
  const tc_view& y = call->outputs[0];
  nest = {};
  if (p.rank == 0) {  // view to view
    if (!same_dims(x, y)) return false;
    nest.rank = x.rank;
    for (int i = 0; i < x.rank; ++i) {
      nest.dims[i] = x.dims[i];
      nest.in[i] = x.strides[i];
      nest.out[i] = y.strides[i];
    }
    return true;
  }
  if (p.rank < 0 || p.rank > TC_MAX_RANK) return false;
  nest.rank = p.rank;
  nest.offset = p.offset;
  Checked count(1);
  for (int i = 0; i < p.rank; ++i) {
    if (p.dims[i] < 1) return false;
    nest.dims[i] = p.dims[i];
    nest.in[i] = p.in_strides[i];
    count = count * p.dims[i];
  }
  return count.ok && count.value == count_of(y) && split_output(y, nest);
}

// Every element read lies between the first and the last element of x.
inline bool reads_inside(const tc_view& x, const Nest& nest) {
  int64_t last = 0, least = nest.offset, most = nest.offset;
  for (int i = 0; i < x.rank; ++i) last += (x.dims[i] - 1) * (x.dims[i] == 1 ? 0 : x.strides[i]);
  for (int i = 0; i < nest.rank; ++i) {
    const int64_t far = (nest.dims[i] - 1) * nest.in[i];
    (far < 0 ? least : most) += far;
  }
  return least >= 0 && most <= last;
}

// Without unit dims, axes merged where both sides continue. At least one axis remains.
inline Nest simplified(const Nest& nest) {
  Nest s = {};
  s.offset = nest.offset;
  for (int i = 0; i < nest.rank; ++i) {
    if (nest.dims[i] == 1) continue;
    const int at = s.rank - 1;
    const bool merges = s.rank > 0 && s.in[at] == nest.in[i] * nest.dims[i] && s.out[at] == nest.out[i] * nest.dims[i];
    if (!merges) s.dims[s.rank++] = 1;
    s.dims[s.rank - 1] *= nest.dims[i];
    s.in[s.rank - 1] = nest.in[i];
    s.out[s.rank - 1] = nest.out[i];
  }
  if (s.rank == 0) {
    s.rank = 1;
    s.dims[0] = s.in[0] = s.out[0] = 1;
  }
  return s;
}

}  // namespace

#endif
