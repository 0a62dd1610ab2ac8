"""Lookup: bytes replaced by a table's entries; any function of one quantized value is one."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.quantized_prelu import slopes_of
from tiercast.ops.registry import Op, attr, const, dtype, shape, where

BYTES = (ir.DataType.INT8, ir.DataType.UINT8)


class Lookup(Op):
    """y = table[x], by the bits of x: s8 -1 is entry 255. x s8 or u8; table constant s8 or u8 [256], or
    [C,256] with a row for each index of x's last axis. Output: x's shape, the table's dtype.
    """

    onnx = ("QuantizedLookup",)
    inputs = ("x", "table")
    attributes: ClassVar = {}
    strided_inputs = True
    strided_outputs = True
    in_place = True

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """Keeps the input's order; tables of an `axis` want it last."""
        x, table = node.inputs
        assert x is not None and table is not None
        perm = layout.perm(x)
        if len(layout.shape(table)) == 2:
            axis = node.attributes["axis"].as_int()
            perm = (*(item for item in perm if item != axis), axis) if perm[-1] != axis else perm
        made = _slopes(node, layout, layout.as_perm(x, perm))
        if made is None:
            made = layout.emit("Lookup", [layout.as_perm(x, perm), layout.plain(table)])[0]
        layout.bind(node.outputs[0], made, perm)

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """x's shape, the table's dtype."""
        x, table = node.inputs[0], const(node.inputs[1])
        assert x is not None and node.inputs[1] is not None
        rows = {(256,), (shape(x)[-1], 256)} if shape(x) else {(256,)}
        if table is None or table.shape not in rows:
            raise GraphError(
                f"{where(node)}: the table must be a constant of 256 entries, or such for each channel"
            )
        if dtype(x) not in BYTES or dtype(node.inputs[1]) not in BYTES:
            raise GraphError(f"{where(node)}: x {dtype(x)} and table {table.dtype} must be s8 or u8")
        return [(dtype(node.inputs[1]), shape(x))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One call."""
        table = const(node.inputs[1])
        assert table is not None
        operands = [node.inputs[0], low.const(np.ascontiguousarray(table), "table")]
        low.call(
            node, low.choose("lookup_anyany"), operands, [node.outputs[0]], {"per_channel": table.ndim - 1}
        )


def _slopes(node: ir.Node, layout: Layouter, x: ir.Value) -> ir.Value | None:
    """Tables of channels as two slopes of each, where that gives the same; `x_zero` and `y_zero` of the node
    say around which points.
    """
    table = const(node.inputs[1])
    if table is None or table.ndim != 2 or table.dtype != np.int8 or dtype(x) != ir.DataType.INT8:
        return None
    x_zero, y_zero = int(attr(node, "x_zero", 0)), int(attr(node, "y_zero", 0))
    slopes = slopes_of(table, x_zero, y_zero)
    if slopes is None:
        return None
    limits = {"low": int(table.min()), "high": int(table.max())}
    operands = [x, layout.constant(slopes, f"{x.name}/slopes")]
    return layout.emit("QuantizedPrelu", operands, {"x_zero": x_zero, "y_zero": y_zero, **limits})[0]
