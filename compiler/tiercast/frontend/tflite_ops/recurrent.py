"""Layers over time. Their states start at zero in every run: a session keeps nothing between runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tiercast.errors import ModelError
from tiercast.frontend.tflite_ops.builder import Value
from tiercast.frontend.tflite_ops.file import Operator
from tiercast.frontend.tflite_ops.scope import Scope
from tiercast.frontend.tflite_ops.table import activation, options, translates

_ONNX_GATES = (0, 3, 1, 2)  # TFLite's i f c o in ONNX's order i o f c


@translates("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs=1)
def sequence_lstm(scope: Scope, op: Operator) -> None:
    """One direction; without peepholes, projection, coupled gates, layer norms and clipping."""
    chosen = options(op, "UnidirectionalSequenceLSTMOptions")
    _refuse_clipping(chosen["CellClip"], chosen["ProjClip"])
    if any(scope.given(op, at) is not None for at in range(20, 24)):
        raise ModelError("its gates have layer norms, which are not supported")
    weights = _lstm_weights(scope, op, 1, activation(chosen))
    states = [_state(scope, scope.given(op, at), scope.tensor(op.inputs[5 + 1]).shape[1]) for at in (18, 19)]
    x = scope.real(op.inputs[0])
    made = _lstm(scope, x if chosen["TimeMajor"] else scope.turned(x, (1, 0, 2)), [weights], [states])
    steps, _, batch, hidden = made.shape
    sequence = scope.reshaped(made, (steps, batch, hidden))
    scope.put(op.outputs[0], sequence if chosen["TimeMajor"] else scope.turned(sequence, (1, 0, 2)))


@translates("BIDIRECTIONAL_SEQUENCE_LSTM")
def bidirectional_lstm(scope: Scope, op: Operator) -> None:
    """Both directions over the same input, side by side in one result or in two."""
    chosen = options(op, "BidirectionalSequenceLSTMOptions")
    _refuse_clipping(chosen["CellClip"], chosen["ProjClip"])
    if any(scope.given(op, at) is not None for at in range(39, 48)):
        raise ModelError("it has an auxiliary input, which is not supported")
    weights = [_lstm_weights(scope, op, first, activation(chosen)) for first in (1, 18)]
    hidden = weights[0][1].shape[1]
    states = [[_state(scope, scope.given(op, at), hidden) for at in pair] for pair in ((35, 36), (37, 38))]
    x = scope.real(op.inputs[0])
    made = _lstm(scope, x if chosen["TimeMajor"] else scope.turned(x, (1, 0, 2)), weights, states)
    steps, _, batch, _ = made.shape
    outer = (0, 2, 1, 3) if chosen["TimeMajor"] else (2, 0, 1, 3)
    if chosen["MergeOutputs"]:
        turned = scope.turned(made, outer)
        scope.put(op.outputs[0], scope.reshaped(turned, (*turned.shape[:2], 2 * hidden)))
        return
    halves = scope.builder.emit_many("Split", [made, scope.builder.ints([1, 1])], 2, axis=1)
    for half, out in zip(halves, op.outputs, strict=True):
        sequence = scope.reshaped(half, (steps, batch, hidden))
        scope.put(out, sequence if chosen["TimeMajor"] else scope.turned(sequence, (1, 0, 2)))


@translates("UNIDIRECTIONAL_SEQUENCE_RNN", inputs=4)
def sequence_rnn(scope: Scope, op: Operator) -> None:
    """h = act(W x + R h + b)."""
    chosen = options(op, "SequenceRNNOptions")
    if activation(chosen) != "TANH":
        raise ModelError(f"its activation is {activation(chosen)}; only TANH is supported")
    weight, recurrent, bias = (real_array(scope, index) for index in op.inputs[1:4])
    x = scope.real(op.inputs[0])
    x = x if chosen["TimeMajor"] else scope.turned(x, (1, 0, 2))
    state = _state(scope, scope.given(op, 4), recurrent.shape[0])
    constant = scope.builder.constant
    operands = [x, constant(weight[None]), constant(recurrent[None])]
    operands.append(constant(np.concatenate([bias, np.zeros_like(bias)])[None]))
    made = scope.builder.emit_many("RNN", [*operands, None, state], 2, hidden_size=recurrent.shape[0])[0]
    steps, _, batch, hidden = made.shape
    sequence = scope.reshaped(made, (steps, batch, hidden))
    scope.put(op.outputs[0], sequence if chosen["TimeMajor"] else scope.turned(sequence, (1, 0, 2)))


def real_array(scope: Scope, index: int) -> np.ndarray:
    """A constant's real values as f32, dequantized along its axis."""
    array, quantization = scope.constant(index, "a weight"), scope.quantized(index)
    if quantization is None:
        return np.asarray(array, np.float32)
    dims = [1] * array.ndim
    if not quantization.per_tensor:
        dims[quantization.axis] = -1
    scales, zeros = quantization.scales.reshape(dims), quantization.zeros.reshape(dims)
    real: np.ndarray = ((array.astype(np.int64) - zeros) * scales).astype(np.float32)
    return real


def _lstm_weights(
    scope: Scope, op: Operator, first: int, chosen: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(W, R, B) of one direction, ONNX's gates; `first`: the input that is its first weight."""
    if chosen != "TANH":
        raise ModelError(f"its activation is {chosen}; only TANH is supported")
    if any(scope.given(op, at) is None for at in (first, first + 4)):
        raise ModelError("its input and forget gates are coupled, which is not supported")
    if any(scope.given(op, at) is not None for at in range(first + 8, first + 11)):
        raise ModelError("it has peepholes, which are not supported")
    if any(scope.given(op, at) is not None for at in (first + 15, first + 16)):
        raise ModelError("it has a projection, which is not supported")

    def gates(start: int) -> list[np.ndarray]:
        return [real_array(scope, op.inputs[start + gate]) for gate in _ONNX_GATES]

    bias = np.concatenate(gates(first + 11))
    return np.concatenate(gates(first)), np.concatenate(gates(first + 4)), np.concatenate([bias, 0 * bias])


def _lstm(
    scope: Scope,
    x: Value,
    weights: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    states: Sequence[Sequence[Value | None]],
) -> Value:
    """ONNX's Y [T, directions, N, H] of x [T, N, I]."""
    constant = scope.builder.constant
    stacked = [constant(np.stack(arrays).astype(np.float32)) for arrays in zip(*weights, strict=True)]
    initial: list[Value | None] = []
    for of_direction in zip(*states, strict=True):
        known = [value for value in of_direction if value is not None]
        if known and len(known) != len(of_direction):
            raise ModelError("only one of its directions has an initial state")
        initial.append(scope.builder.emit("Concat", known, axis=0) if known else None)
    hidden = weights[0][1].shape[1]
    direction = "bidirectional" if len(weights) == 2 else "forward"
    operands = [x, *stacked, None, *initial]
    return scope.builder.emit_many("LSTM", operands, 3, hidden_size=hidden, direction=direction)[0]


def _state(scope: Scope, index: int | None, hidden: int) -> Value | None:
    """The initial state [1, N, H]; None for a state that the layer itself keeps, which starts at zero."""
    if index is None or scope.tensor(index).is_variable:
        return None
    value = scope.real(index)
    return scope.reshaped(value, (1, value.shape[0], hidden))


def _refuse_clipping(*limits: float) -> None:
    if any(limits):
        raise ModelError(f"it clips its states at {limits}, which is not supported")
