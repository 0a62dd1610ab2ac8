"""ArgReduce: index of the largest or smallest element along an axis."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.registry import REQUIRED, Op, attr, dtype, shape, where


class ArgReduce(Op):
    """y = index along `axis` of x's largest (kind "max") or smallest ("min") element, s64; ties: first, or last.

    x: f32, dense. Output: x's dims without `axis`.
    """

    onnx = ("ArgMax", "ArgMin")
    inputs = ("x",)
    attributes: ClassVar = {"kind": REQUIRED, "axis": REQUIRED, "select_last": 0}

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """Keeps the input's order."""
        x, out = node.inputs[0], node.outputs[0]
        assert x is not None
        perm, rank = layout.perm(x), len(layout.shape(x))
        axis = int(attr(node, "axis", 0)) % rank
        at = perm.index(axis)
        attributes = {
            "kind": "max" if node.op_type == "ArgMax" else "min",
            "axis": at,
            "select_last": int(attr(node, "select_last_index", 0)),
        }
        made = layout.emit("ArgReduce", [layout.as_perm(x, perm)], attributes)[0]
        if int(attr(node, "keepdims", 1)):
            dims = list(shape(made))
            dims.insert(at, 1)
            layout.bind(out, layout.alias(made, dims), perm)
        else:
            layout.bind(out, made, [kept - (kept > axis) for kept in perm if kept != axis])

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """s64, x's dims without the axis."""
        (x,) = node.inputs
        assert x is not None
        axis = int(attr(node, "axis"))
        if dtype(x) != ir.DataType.FLOAT:
            raise GraphError(f"{where(node)}: element type {dtype(x).name} is not f32; cast it first")
        if not 0 <= axis < len(shape(x)):
            raise GraphError(f"{where(node)}: axis {axis} is not an axis of {shape(x)}")
        return [(ir.DataType.INT64, shape(x)[:axis] + shape(x)[axis + 1 :])]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One `arg_reduce` call."""
        params = {
            "axis": int(attr(node, "axis")),
            "smallest": int(attr(node, "kind") == "min"),
            "select_last": int(attr(node, "select_last")),
        }
        low.call(node, low.choose("arg_reduce_f32s64"), list(node.inputs), list(node.outputs), params)
