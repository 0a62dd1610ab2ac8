// The elementwise part of a recurrent step, VL units at a time. Include one ISA's header before.
#ifndef TIERCAST_RNN_CELLS_H_
#define TIERCAST_RNN_CELLS_H_

namespace {

// `p` is the projected input's value, `g` the recurrent product's, per gate.
TC_INLINE V gru_cell(V pz, V gz, V pr, V gr, V ph, V gh, V before, bool reset_after) {
  const V z = v_sigmoid(v_add(pz, gz));
  // With the reset applied before the product, gh has it already.
  const V inner = reset_after ? v_fma(v_sigmoid(v_add(pr, gr)), gh, ph) : v_add(ph, gh);
  const V fresh = v_tanh(inner);
  return v_fma(z, v_sub(before, fresh), fresh);
}

TC_INLINE V lstm_cell(V i, V o, V f, V c, V* state) {
  *state = v_fma(v_sigmoid(f), *state, v_mul(v_sigmoid(i), v_tanh(c)));
  return v_mul(v_sigmoid(o), v_tanh(*state));
}

}  // namespace

#endif
