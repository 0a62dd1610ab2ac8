"""CumSum: running sums along an axis."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.copy import constant_ints
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.registry import REQUIRED, Op, attr, dtype, shape, where


class CumSum(Op):
    """y = running sum of x along physical `axis`; exclusive leaves the own element out, reverse runs from
    the end; dense."""

    onnx = ("CumSum",)
    inputs = ("x",)
    attributes: ClassVar = {"axis": REQUIRED, "exclusive": 0, "reverse": 0}

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """Keeps the input's order."""
        x = node.inputs[0]
        assert x is not None
        perm = layout.perm(x)
        (axis,) = constant_ints(node, layout, 1, "axis")
        attributes = {
            "axis": perm.index(axis % len(perm)),
            "exclusive": int(attr(node, "exclusive", 0)),
            "reverse": int(attr(node, "reverse", 0)),
        }
        layout.bind(node.outputs[0], layout.emit("CumSum", [layout.as_perm(x, perm)], attributes)[0], perm)

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """Shape of x."""
        (x,) = node.inputs
        assert x is not None
        if not 0 <= int(attr(node, "axis")) < len(shape(x)):
            raise GraphError(f"{where(node)}: axis {attr(node, 'axis')} is not an axis of {shape(x)}")
        return [(dtype(x), shape(x))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One `cum_sum` call."""
        (x,) = node.inputs
        assert x is not None
        row = low.choose("cum_sum_f32f32" if dtype(x) == ir.DataType.FLOAT else "cum_sum_s64s64")
        params = {name: int(attr(node, name)) for name in ("axis", "exclusive", "reverse")}
        low.call(node, row, [x], list(node.outputs), params)
