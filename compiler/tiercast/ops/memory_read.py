"""MemoryRead: attention as one kernel, scores never in memory as a whole."""

from __future__ import annotations

import math
from typing import ClassVar

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.lowering import Lowering
from tiercast.ops.registry import Op, attr, dtype, shape, where

SLOTS, COLUMNS = 256, 32  # as in kernels/memory_read/memory_read.h


class MemoryRead(Op):
    """y = values @ softmax over S of (scale * keys @ queries + offset_scale * offsets), f32.

    keys [batch...,S,D]; queries [batch...,D,L], or [batch...,L,D] with trans_queries; values [batch...,E,S];
    offsets [batch...,S,1], zero when absent. Batch axes are equal. Output [batch...,E,L].
    """

    inputs = ("keys", "queries", "values", "offsets?")
    attributes: ClassVar = {"trans_queries": 0, "scale": 1.0, "offset_scale": 1.0}
    strided_inputs = True
    strided_outputs = True

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """[batch...,E,L]; GraphError when the operands do not fit."""
        given = [value for value in node.inputs if value is not None]
        if any(dtype(value) != ir.DataType.FLOAT for value in given):
            raise GraphError(f"{where(node)}: operands must be f32")
        (*batch, slots, depth), queries, values = (shape(value) for value in given[:3])
        rows, columns = queries[-2:]
        inner, out = (columns, rows) if attr(node, "trans_queries") else (rows, columns)
        fits = inner == depth and values[-1] == slots
        fits = fits and all(shape(value)[:-2] == tuple(batch) for value in given)
        if not fits or any(shape(value) != (*batch, slots, 1) for value in given[3:]):
            raise GraphError(
                f"{where(node)}: {', '.join(str(shape(value)) for value in given)} do not fit together"
            )
        return [(ir.DataType.FLOAT, (*batch, values[-2], out))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One call."""
        names = ("trans_queries", "scale", "offset_scale")
        keys = node.inputs[0]
        assert keys is not None
        low.call(
            node,
            low.choose("memory_read_f32f32"),
            list(node.inputs),
            list(node.outputs),
            {name: attr(node, name) for name in names},
            (shape(keys)[-1] + SLOTS + 4) * COLUMNS * 4,
        )

    def macs(self, node: ir.Node) -> int:
        """Of both products."""
        keys, values, y = node.inputs[0], node.inputs[2], node.outputs[0]
        assert keys is not None and values is not None
        batch = math.prod(shape(y)[:-2])
        return batch * shape(keys)[-2] * shape(y)[-1] * (shape(keys)[-1] + shape(values)[-2])
