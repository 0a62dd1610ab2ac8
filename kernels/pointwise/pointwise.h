// What check and every row of `pointwise` agree on: the program's encoding, the collapsed axes, the scratch layout.
#ifndef TIERCAST_POINTWISE_POINTWISE_H_
#define TIERCAST_POINTWISE_POINTWISE_H_

#include "pointwise_params.h"
#include "views/rules.h"

namespace {

// An operand of an instruction: inputs from 0, registers from kRegisterBase, literals from kLiteralBase.
enum {
  kMaxInputs = 16,
  kMaxRegisters = 16,
  kMaxLiterals = 32,
  kMaxInstructions = 32,
  kRegisterBase = kMaxInputs,
  kLiteralBase = kRegisterBase + kMaxRegisters,
  kOperandCount = kLiteralBase + kMaxLiterals,
  kTile = 1024,  // elements of one register tile
};

struct Instruction {
  int op, target, a, b, c;
};

// Instruction i is two words: op | target << 8 | a << 16 | b << 24, then c. Operands that an op does not have repeat a.
inline Instruction instruction_at(const tc_pointwise_params& p, int i) {
  const uint32_t word = static_cast<uint32_t>(p.code[2 * i]);
  return {static_cast<int>(word & 255), static_cast<int>(word >> 8 & 255), static_cast<int>(word >> 16 & 255), static_cast<int>(word >> 24),
          static_cast<int>(static_cast<uint32_t>(p.code[2 * i + 1]) & 255)};
}

// Tiles of one thread: one per input, register and literal, and one to stage the output.
inline int64_t scratch_need(int64_t inputs, int64_t registers, int64_t literals) {
  return (inputs + registers + literals + 1) * kTile * static_cast<int64_t>(sizeof(float));
}

// The output's axes without unit dims, adjacent ones merged where every operand steps through them evenly.
// strides[i] belongs to input i (0 where it broadcasts), strides[inputs] to the output.
struct Axes {
  int rank;
  int64_t dims[TC_MAX_RANK];
  int64_t strides[kMaxInputs + 1][TC_MAX_RANK];
};

inline int64_t broadcast_stride(const tc_view& v, int axis, int out_rank) {
  const int own = axis - (out_rank - v.rank);
  return own < 0 || v.dims[own] == 1 ? 0 : v.strides[own];
}

inline Axes collapse(const tc_call* call) {
  const tc_view& y = call->outputs[0];
  const int operands = call->input_count + 1;
  Axes axes = {};
  for (int axis = 0; axis < y.rank; ++axis) {
    if (y.dims[axis] == 1) continue;
    int64_t step[kMaxInputs + 1];
    for (int i = 0; i < operands; ++i) {
      step[i] = broadcast_stride(i < call->input_count ? call->inputs[i] : y, axis, y.rank);
    }
    bool merges = axes.rank > 0;
    for (int i = 0; i < operands && merges; ++i) merges = axes.strides[i][axes.rank - 1] == step[i] * y.dims[axis];
    if (!merges) axes.dims[axes.rank++] = 1;
    axes.dims[axes.rank - 1] *= y.dims[axis];
    for (int i = 0; i < operands; ++i) axes.strides[i][axes.rank - 1] = step[i];
  }
  if (axes.rank == 0) {
    axes.rank = 1;
    axes.dims[0] = 1;
  }
  return axes;
}

}  // namespace

#endif
