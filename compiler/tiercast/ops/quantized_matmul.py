"""QuantizedMatmul: batched products of two s8 matrices that are both computed."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.quantized import HIGH, LOW, check_zero, limits, result_type
from tiercast.ops.registry import Op, attr, dtype, shape, where


class QuantizedMatmul(Op):
    """y = requantized((a - a_zero) @ (b - b_zero)), in s8, or the sums as f32 (times scale) or s32 (`to`).

    a s8 [batch..., M, K]; b s8 [batch..., K, N]; of one rank, batches equal or all 1. scale: those of a and b
    (over that of y, for s8). y = round(sum * scale) + y_zero, halves to even, within low..high.
    """

    onnx = ("QuantizedMatMul",)
    inputs = ("a", "b")
    attributes: ClassVar = {
        "a_zero": 0,
        "b_zero": 0,
        "scale": 1.0,
        "y_zero": 0,
        "low": LOW,
        "high": HIGH,
        "to": "s8",
    }

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """In logical order; the lower rank gets leading axes of 1."""
        a, b = node.inputs
        assert a is not None and b is not None
        rank = max(len(layout.shape(a)), len(layout.shape(b)))
        operands = [
            layout.alias(layout.plain(value), (1,) * (rank - len(layout.shape(value))) + layout.shape(value))
            for value in (a, b)
        ]
        attributes = {name: attr(node, name, default) for name, default in self.attributes.items()}
        made = layout.emit("QuantizedMatmul", operands, attributes)[0]
        layout.bind(node.outputs[0], layout.alias(made, layout.shape(node.outputs[0])))

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """[batch..., M, N] of `to`; GraphError when the operands do not multiply."""
        a, b = node.inputs
        assert a is not None and b is not None
        if {dtype(a), dtype(b)} != {ir.DataType.INT8} or len(shape(a)) != len(shape(b)) or len(shape(a)) < 2:
            raise GraphError(
                f"{where(node)}: operands must be s8 matrices of one rank: {shape(a)}, {shape(b)}"
            )
        (*batch_a, m, k), (*batch_b, rows, n) = shape(a), shape(b)
        if k != rows or (batch_a != batch_b and 1 not in (math.prod(batch_a), math.prod(batch_b))):
            raise GraphError(f"{where(node)}: {shape(a)} and {shape(b)} do not multiply here")
        return [(result_type(node), (*np.broadcast_shapes(tuple(batch_a), tuple(batch_b)), m, n))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One call."""
        params = {
            "a_zero": check_zero(node, int(attr(node, "a_zero"))),
            "b_zero": check_zero(node, int(attr(node, "b_zero"))),
            "scale": attr(node, "scale"),
            **limits(node),
        }
        low.call(node, low.choose("quantized_matmul_s8s8"), list(node.inputs), list(node.outputs), params)

    def macs(self, node: ir.Node) -> int:
        """Output elements times K."""
        a = node.inputs[0]
        return math.prod(shape(node.outputs[0])) * (shape(a)[-1] if a is not None else 0)
