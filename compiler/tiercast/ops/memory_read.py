"""MemoryRead: attention as one kernel, scores never in memory as a whole."""

from __future__ import annotations

import math
from typing import ClassVar

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.lowering import Lowering
from tiercast.ops.registry import Op, attr, dtype, shape, where

SLOTS, COLUMNS, PACKED_ROWS = 256, 32, 48  # as in kernels/memory_read/memory_read.h


class MemoryRead(Op):
    """y = values @ softmax over S of (scale * keys @ queries + offset_scale * offsets), f32.

    keys [batch...,S,D]; queries [batch...,D,L], or [batch...,L,D] with trans_queries; values [batch...,E,S];
    offsets [batch...,S,1], zero when absent. Batch axes are equal. Output [batch...,E,L].
    With top_k > 0 the softmax is over the top_k largest scores of a column (of equal ones the first), other
    slots weigh nothing, and values are [batch...,S,E].
    """

    inputs = ("keys", "queries", "values", "offsets?")
    attributes: ClassVar = {"trans_queries": 0, "scale": 1.0, "offset_scale": 1.0, "top_k": 0}
    strided_inputs = True
    strided_outputs = True

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """[batch...,E,L]; GraphError when the operands do not fit."""
        given = [value for value in node.inputs if value is not None]
        if any(dtype(value) != ir.DataType.FLOAT for value in given):
            raise GraphError(f"{where(node)}: operands must be f32")
        (*batch, slots, depth), queries, values = (shape(value) for value in given[:3])
        inner, out = _turned(queries, bool(attr(node, "trans_queries")))
        width, read = _turned(values, attr(node, "top_k") > 0)
        fits = inner == depth and read == slots
        fits = fits and all(shape(value)[:-2] == tuple(batch) for value in given)
        if not fits or any(shape(value) != (*batch, slots, 1) for value in given[3:]):
            raise GraphError(
                f"{where(node)}: {', '.join(str(shape(value)) for value in given)} do not fit together"
            )
        if not 0 <= attr(node, "top_k") <= slots:
            raise GraphError(f"{where(node)}: top_k={attr(node, 'top_k')} is not in 0..{slots}, the slots")
        return [(ir.DataType.FLOAT, (*batch, width, out))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One call."""
        keys = node.inputs[0]
        assert keys is not None
        low.call(
            node,
            low.choose("memory_read_f32f32"),
            list(node.inputs),
            list(node.outputs),
            {name: attr(node, name) for name in self.attributes},
            _scratch_bytes(shape(keys)[-1], int(attr(node, "top_k"))),
        )

    def macs(self, node: ir.Node) -> int:
        """Of both products; the second one reads top_k slots of a column, or all."""
        keys, y = node.inputs[0], node.outputs[0]
        assert keys is not None
        slots, depth = shape(keys)[-2:]
        read = int(attr(node, "top_k")) or slots
        return (slots * depth * shape(y)[-1] + read * math.prod(shape(y)[-2:])) * math.prod(shape(y)[:-2])


def _turned(dims: tuple[int, ...], turned: bool) -> tuple[int, int]:
    rows, columns = dims[-2:]
    return (columns, rows) if turned else (rows, columns)


def _scratch_bytes(depth: int, top_k: int) -> int:
    """memory_read_scratch_bytes of kernels/memory_read/memory_read.h."""
    return ((depth + 2 * SLOTS + 4 + 4 * top_k) * COLUMNS + max(depth, SLOTS) * PACKED_ROWS) * 4
