"""ArgReduce: position of the largest or smallest element along an axis."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.registry import REQUIRED, Op, attr, dtype, shape, where


class ArgReduce(Op):
    """y (s64) = position of the `kind` (max or min) of x along physical `axis`; f32 or integers, dense.

    select_last: the last of equals, else the first. The first NaN counts as the extremum, as in numpy.
    """

    onnx = ("ArgMax", "ArgMin")
    inputs = ("x",)
    attributes: ClassVar = {"kind": REQUIRED, "axis": REQUIRED, "keepdims": 1, "select_last": 0}

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """Keeps the input's order; without keepdims the axis leaves it."""
        (x,) = node.inputs
        assert x is not None
        perm, keepdims = layout.perm(x), int(attr(node, "keepdims", 1))
        axis = int(attr(node, "axis", 0)) % len(perm)
        attributes = {
            "kind": "max" if node.op_type == "ArgMax" else "min",
            "axis": perm.index(axis),
            "keepdims": keepdims,
            "select_last": int(attr(node, "select_last_index", 0)),
        }
        made = layout.emit("ArgReduce", [layout.as_perm(x, perm)], attributes)[0]
        layout.bind(
            node.outputs[0], made, perm if keepdims else [at - (at > axis) for at in perm if at != axis]
        )

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """x's dims with the axis 1 or gone, s64."""
        (x,) = node.inputs
        assert x is not None
        axis = int(attr(node, "axis"))
        if not 0 <= axis < len(shape(x)):
            raise GraphError(f"{where(node)}: axis {axis} is not an axis of {shape(x)}")
        kept = (1,) if attr(node, "keepdims") else ()
        return [(ir.DataType.INT64, (*shape(x)[:axis], *kept, *shape(x)[axis + 1 :]))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One `arg_reduce` call."""
        (x,) = node.inputs
        assert x is not None
        row = low.choose("arg_reduce_f32s64" if dtype(x) == ir.DataType.FLOAT else "arg_reduce_s64s64")
        params = {name: attr(node, name) for name in ("axis", "kind", "select_last")}
        low.call(node, row, [x], list(node.outputs), params)
