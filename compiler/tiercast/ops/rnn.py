"""Rnn: the recurrence of GRU, LSTM and RNN layers; the input projection is a Matmul over all steps."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering, Operand
from tiercast.ops.registry import REQUIRED, Op, attr, const, dtype, shape, where

BATCH_ROWS, UNITS = 4, 16  # as in kernels/rnn/rnn.h
_GATES = {"gru": 3, "lstm": 4, "rnn": 1}
_ACTIVATIONS = {"gru": ["Sigmoid", "Tanh"], "lstm": ["Sigmoid", "Tanh", "Tanh"], "rnn": ["Tanh"]}


class Rnn(Op):
    """y, h (, c) = the recurrence over projected inputs, gates in ONNX order (gru: z r h; lstm: i o f c).

    projected f32 [T,N,D*G*H] = x times the transposed W, plus the biases that may be added there; weight f32
    constant [D,G*H,H]; bias f32 constant [D,G*H], added to the recurrent product; initial_h, initial_c f32
    [D,N,H], zeros when absent. kind gru | lstm | rnn, direction forward | reverse | bidirectional (D = 2).
    Outputs y [T,D,N,H], h [D,N,H] and, for lstm, c [D,N,H].
    """

    onnx = ("GRU", "LSTM", "RNN")
    inputs = ("projected", "weight", "bias?", "initial_h?", "initial_c?")
    attributes: ClassVar = {"kind": REQUIRED, "direction": "forward", "linear_before_reset": 0}

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """ONNX GRU, LSTM and RNN; with layout 1 (batch first) x, states and outputs are lazily transposed.

        GraphError for variable lengths, clipping, peepholes and activations other than the default ones,
        which `split_composites` unrolls before where the steps are few enough.
        """
        kind = node.op_type.lower()
        refuse_unsupported(node, layout, kind)
        x, weight, recurrent = node.inputs[0], layout.const(node.inputs[1]), layout.const(node.inputs[2])
        assert x is not None
        if weight is None or recurrent is None:
            raise GraphError(f"{where(node)}: W and R must be constants")
        batch_first = bool(attr(node, "layout", 0))
        swapped = (1, 0, 2) if batch_first else (0, 1, 2)
        steps, batch, features = (layout.shape(x)[axis] for axis in swapped)
        directions, columns = weight.shape[0], weight.shape[1]
        reset_after = kind == "gru" and bool(attr(node, "linear_before_reset", 0))
        biases = _input(node, 3)
        bias = np.zeros((directions, 2 * columns), np.float32) if biases is None else layout.const(biases)
        if bias is None:
            raise GraphError(f"{where(node)}: B must be a constant")
        of_input, of_state = _split_bias(bias, columns, reset_after)
        stacked = np.ascontiguousarray(weight.reshape(directions * columns, features).T, np.float32)
        rows = layout.alias(layout.as_perm(x, swapped), (steps * batch, features))
        name = node.name or node.op_type
        factor = layout.constant(stacked, f"{name}/W")
        projected = layout.emit("Matmul", [rows, factor, layout.constant(of_input.reshape(-1), f"{name}/B")])[
            0
        ]
        given = (_input(node, 5), _input(node, 6) if kind == "lstm" else None)
        states = [None if value is None else layout.as_perm(value, swapped) for value in given]
        made = layout.emit(
            "Rnn",
            [
                layout.alias(projected, (steps, batch, directions * columns)),
                layout.constant(recurrent.astype(np.float32), f"{name}/R"),
                layout.constant(of_state, f"{name}/Rb"),
                *states,
            ],
            {
                "kind": kind,
                "direction": attr(node, "direction", "forward"),
                "linear_before_reset": int(reset_after),
            },
            outputs=3 if kind == "lstm" else 2,
        )
        sequence = (1, 2, 0, 3) if batch_first else (0, 1, 2, 3)
        for output, physical, perm in zip(node.outputs, made, (sequence, swapped, swapped), strict=False):
            if output.name:
                layout.bind(output, physical, perm)

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """y, h (, c); GraphError when sizes do not fit."""
        projected, kind = node.inputs[0], attr(node, "kind")
        assert projected is not None
        weight = const(node.inputs[1])
        if kind not in _GATES or weight is None or weight.ndim != 3:
            raise GraphError(
                f"{where(node)}: kind={kind!r} must be gru, lstm or rnn, the weight a constant [D,G*H,H]"
            )
        directions, columns, hidden = weight.shape
        steps, batch, width = shape(projected)
        fits = columns == _GATES[kind] * hidden and width == directions * columns
        if not fits or dtype(projected) != ir.DataType.FLOAT:
            raise GraphError(
                f"{where(node)}: projected {shape(projected)}, weight {weight.shape} do not fit kind={kind}"
            )
        if directions != (2 if attr(node, "direction") == "bidirectional" else 1):
            raise GraphError(
                f"{where(node)}: direction={attr(node, 'direction')} with weights for {directions}"
            )
        state = (ir.DataType.FLOAT, (directions, batch, hidden))
        sequence = (ir.DataType.FLOAT, (steps, directions, batch, hidden))
        return [sequence, state, state] if kind == "lstm" else [sequence, state]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One call; the recurrent weight is packed by blocks of units."""
        weight, kind = const(node.inputs[1]), attr(node, "kind")
        assert weight is not None
        directions, _, hidden = weight.shape
        gates = _GATES[kind]
        bias = const(_input(node, 2))
        bias = np.zeros((directions, gates * hidden), np.float32) if bias is None else bias
        blocks = -(-hidden // UNITS)
        packed = _by_block(weight.reshape(directions, gates, hidden, hidden))
        low.call(
            node,
            low.choose("rnn_f32f32"),
            inputs=[
                node.inputs[0],
                low.weight(packed, "weight", dims=(packed.size,)),
                low.const(_by_block(bias.reshape(directions, gates, hidden, 1)).reshape(-1), "bias"),
                _state(low, _input(node, 3)),
                _state(low, _input(node, 4)),
            ],
            outputs=list(node.outputs),
            params={
                "kind": kind,
                "direction": attr(node, "direction"),
                "linear_before_reset": attr(node, "linear_before_reset"),
            },
            scratch_bytes=3 * blocks * UNITS * BATCH_ROWS * 4,
        )

    def macs(self, node: ir.Node) -> int:
        """Recurrent products of all steps (the projection counts as its own Matmul)."""
        weight = const(node.inputs[1])
        projected = node.inputs[0]
        return 0 if weight is None or projected is None else weight.size * math.prod(shape(projected)[:2])


def refuse_unsupported(node: ir.Node, layout: Layouter, kind: str) -> None:
    """GraphError for what the kernels do not do."""
    steps, batch, _ = layout.shape(node.inputs[0]) if node.inputs[0] is not None else (0, 0, 0)
    if attr(node, "layout", 0):
        steps, batch = batch, steps
    lengths = _input(node, 4)
    if lengths is not None:
        array = layout.const(lengths)
        if array is None or array.shape != (batch,) or bool((array != steps).any()):
            raise GraphError(
                f"{where(node)}: sequence_lens must be absent, or a constant {steps} for every row"
            )
    if attr(node, "clip") is not None:
        raise GraphError(f"{where(node)}: clip={attr(node, 'clip')} is not supported")
    directions = 2 if attr(node, "direction", "forward") == "bidirectional" else 1
    names = attr(node, "activations")
    default = _ACTIVATIONS[kind] * directions
    if names is not None and [name.lower() for name in names] != [name.lower() for name in default]:
        raise GraphError(f"{where(node)}: activations={names} are not supported; only {_ACTIVATIONS[kind]}")
    if kind == "lstm" and attr(node, "input_forget", 0):
        raise GraphError(f"{where(node)}: input_forget=1 is not supported")
    peepholes = _input(node, 7)
    if peepholes is not None and (layout.const(peepholes) is None or bool(np.any(layout.const(peepholes)))):
        raise GraphError(f"{where(node)}: peepholes (P) are not supported")


def _by_block(matrices: np.ndarray) -> np.ndarray:
    """[directions, gates, hidden, k] as [directions * blocks, k, gates * UNITS] (kernels/rnn/rnn.h)."""
    directions, gates, hidden, k = matrices.shape
    blocks = -(-hidden // UNITS)
    padded = np.zeros((directions, gates, blocks * UNITS, k), np.float32)
    padded[:, :, :hidden] = matrices
    apart = padded.reshape(directions, gates, blocks, UNITS, k).transpose(0, 2, 4, 1, 3)
    return apart.reshape(directions * blocks, k, gates * UNITS)


def _input(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _state(low: Lowering, value: ir.Value | None) -> Operand:
    array = const(value)
    return value if array is None else low.const(array.astype(np.float32), "state")


def _split_bias(bias: np.ndarray, columns: int, reset_after: bool) -> tuple[np.ndarray, np.ndarray]:
    """Biases of the projection and of the recurrent product: here only what a reset multiplies."""
    of_input, of_state = bias[:, :columns].astype(np.float32), bias[:, columns:].astype(np.float32)
    if not reset_after:
        return of_input + of_state, np.zeros_like(of_state)
    kept = np.zeros_like(of_state)
    first = columns * 2 // 3
    kept[:, first:] = of_state[:, first:]
    return of_input + of_state - kept, kept
