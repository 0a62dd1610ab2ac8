"""Matmul: batched matrix product with bias, residual and activation fused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.convolution import channel_vector, residual_of
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering, Operand
from tiercast.ops.panels import panels_for
from tiercast.ops.registry import REALS, Op, attr, const, dtype, real_row, shape, where

BLOCK_FLOATS = 32768  # rows of a that a block may take: 128 KB stay in the second-level cache
BLOCK_ROWS = (16, 192)


class Matmul(Op):
    """y = activation(scale * a @ b + bias [+ residual]), or activation(...) [+ | *] residual.

    a f32 or f16 [batch..., M, K]; b like a or f32 constant [batch..., K, N], or [batch..., N, K] with
    trans_b; batches broadcast.
    bias, slope f32 constant [N]; residual like y. Output like a: [batch..., M, N].
    """

    onnx = ("MatMul", "Gemm")
    inputs = ("a", "b", "bias?", "slope?", "residual?")
    half = True
    attributes: ClassVar = {
        "trans_b": 0,
        "scale": 1.0,
        "activation": "none",
        "alpha": 0.0,
        "beta": 0.0,
        "residual_mode": "none",
    }
    strided_inputs = True
    strided_outputs = True

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """ONNX MatMul (any ranks, 1-D operands too) and Gemm (a C of several rows is added by Pointwise)."""
        if node.op_type == "Gemm":
            _legalize_gemm(node, layout)
        else:
            _legalize_matmul(node, layout)

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """[batch..., M, N] of a's type; GraphError when the operands do not multiply."""
        a, b = node.inputs[0], node.inputs[1]
        assert a is not None and b is not None
        if dtype(a) not in REALS or (dtype(b) != dtype(a) and const(b) is None):
            raise GraphError(
                f"{where(node)}: operands must be f32 or f16, they are {dtype(a)} and {dtype(b)}"
            )
        (*batch_a, m, k), (*batch_b, rows, n) = shape(a), shape(b)
        if attr(node, "trans_b"):
            rows, n = n, rows
        try:
            batch = np.broadcast_shapes(tuple(batch_a), tuple(batch_b))
        except ValueError as error:
            raise GraphError(
                f"{where(node)}: batch axes of {shape(a)} and {shape(b)} do not broadcast"
            ) from error
        if k != rows:
            raise GraphError(f"{where(node)}: {shape(a)} @ {shape(b)}: inner sizes {k} and {rows} differ")
        return [(dtype(a), (*batch, m, n))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One call; a constant b is scaled and packed for the row, a computed one by the kernel."""
        a, b, y = node.inputs[0], node.inputs[1], node.outputs[0]
        assert a is not None and b is not None
        k, n = shape(a)[-1], shape(y)[-1]
        row = low.choose(real_row("matmul", y))
        panels = panels_for(row)
        weight, scale = const(b), float(attr(node, "scale"))
        packed_b: Operand = b
        if weight is not None:
            matrix = np.swapaxes(weight, -1, -2) if attr(node, "trans_b") else weight
            matrix = matrix.astype(np.float32) * np.float32(scale)
            packed_b = low.weight(matrix, "b", panels, (*matrix.shape[:-2], k * panels.padded(n)))
        bias, slope = channel_vector(node, 2, n, default=0.0), channel_vector(node, 3, n)
        residual, residual_mode = residual_of(node, 4)
        array = const(a)
        low.call(
            node,
            row,
            inputs=[
                a if array is None else low.const(array.astype(dtype(y).numpy()), "a"),
                packed_b,
                low.const(panels.pad(bias), "bias"),
                None if slope is None else low.const(panels.pad(slope), "slope"),
                residual,
            ],
            outputs=[y],
            params={
                "packed": int(weight is not None),
                "trans_b": int(weight is None and bool(attr(node, "trans_b"))),
                "scale": 1.0 if weight is not None else scale,
                "activation": attr(node, "activation"),
                "alpha": attr(node, "alpha"),
                "beta": attr(node, "beta"),
                "residual_mode": residual_mode,
                "panel": panels.panel,
                "granule": panels.granule,
                "block_rows": max(BLOCK_ROWS[0], min(BLOCK_ROWS[1], BLOCK_FLOATS // k)),
            },
            scratch_bytes=0 if weight is not None else k * panels.panel * 4,
        )

    def macs(self, node: ir.Node) -> int:
        """Output elements times K."""
        a = node.inputs[0]
        return math.prod(shape(node.outputs[0])) * (shape(a)[-1] if a is not None else 0)


def _legalize_matmul(node: ir.Node, layout: Layouter) -> None:
    a, b = node.inputs[0], node.inputs[1]
    assert a is not None and b is not None
    left, right = layout.plain(a), layout.plain(b) if len(layout.shape(b)) == 1 else None
    vector_a, vector_b = len(layout.shape(a)) == 1, right is not None
    if vector_a:
        left = (
            layout.alias(left, (1, *layout.shape(a)))
            if layout.const(a) is None
            else _reshaped(layout, a, (1, -1))
        )
    trans_b = False
    if right is not None:
        right = (
            layout.alias(right, (*layout.shape(b), 1))
            if layout.const(b) is None
            else _reshaped(layout, b, (-1, 1))
        )
    else:
        right, trans_b = _right_operand(layout, b)
    made = layout.emit("Matmul", [left, right], {"trans_b": int(trans_b)})[0]
    dims = list(shape(made))
    if vector_b:
        dims.pop(-1)
    if vector_a:
        dims.pop(-1 if vector_b else -2)
    layout.bind(node.outputs[0], layout.alias(made, dims))


def _legalize_gemm(node: ir.Node, layout: Layouter) -> None:
    a, b = node.inputs[0], node.inputs[1]
    c = node.inputs[2] if len(node.inputs) > 2 else None
    assert a is not None and b is not None
    left = layout.as_perm(a, (1, 0)) if attr(node, "transA", 0) else layout.plain(a)
    weight = layout.const(b)
    if weight is not None:
        matrix = np.ascontiguousarray(weight.T if attr(node, "transB", 0) else weight)
        right, trans_b = layout.constant(matrix, f"{b.name}"), False
    else:
        right, trans_b = _right_operand(layout, b)
        trans_b ^= bool(attr(node, "transB", 0))
    beta = float(attr(node, "beta", 1.0))
    columns = shape(node.outputs[0])[1]
    row_vector = _row_vector(layout.const(c), columns)
    bias = (
        None
        if row_vector is None
        else layout.constant(row_vector * np.float32(beta), f"{c.name if c else 'bias'}")
    )
    attributes = {"trans_b": int(trans_b), "scale": float(attr(node, "alpha", 1.0))}
    made = layout.emit("Matmul", [left, right, bias], attributes)[0]
    if c is not None and bias is None:
        program = ["add i0 i1"] if beta == 1.0 else [f"mul i1 {beta!r}", "add i0 t0"]
        made = layout.emit("Pointwise", [made, layout.plain(c)], {"program": program})[0]
    layout.bind(node.outputs[0], made)


def _reshaped(layout: Layouter, value: ir.Value, dims: Sequence[int]) -> ir.Value:
    array = layout.const(value)
    assert array is not None
    return layout.constant(array.reshape(dims), f"{value.name}")


def _right_operand(layout: Layouter, value: ir.Value) -> tuple[ir.Value, bool]:
    """b as [..., K, N], or as [..., N, K] and True when that order is what already lies in memory."""
    rank = len(layout.shape(value))
    swapped = (*range(rank - 2), rank - 1, rank - 2)
    if layout.const(value) is None and layout.perm(value) == swapped:
        return layout.as_perm(value, swapped), True
    return layout.plain(value), False


def _row_vector(array: np.ndarray | None, columns: int) -> np.ndarray | None:
    """A constant C that is the same for every row, as f32 [columns]; None otherwise."""
    if array is None or array.size not in (1, columns) or (array.ndim == 2 and array.shape[0] != 1):
        return None
    return np.ascontiguousarray(np.broadcast_to(array.reshape(-1), (columns,)), np.float32)
