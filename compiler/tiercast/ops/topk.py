"""TopK: the k largest or smallest along an axis, sorted, with their positions."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.copy import constant_ints
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.registry import REQUIRED, Op, attr, dtype, shape, where


class TopK(Op):
    """values, indices (s64) = the best `k` of x along physical `axis`; f32 or integers, dense.

    Always sorted; among equals the lower index first; NaN counts as the greatest number.
    """

    onnx = ("TopK",)
    inputs = ("x",)
    attributes: ClassVar = {"k": REQUIRED, "axis": REQUIRED, "largest": 1}

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """Keeps the input's order."""
        x = node.inputs[0]
        assert x is not None
        perm = layout.perm(x)
        axis = int(attr(node, "axis", -1)) % len(perm)
        (count,) = constant_ints(node, layout, 1, "k")
        attributes = {"k": count, "axis": perm.index(axis), "largest": int(attr(node, "largest", 1))}
        for out, made in zip(
            node.outputs, layout.emit("TopK", [layout.as_perm(x, perm)], attributes, 2), strict=True
        ):
            layout.bind(out, made, perm)

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """x's dims with k along the axis, twice."""
        (x,) = node.inputs
        assert x is not None
        axis, count = int(attr(node, "axis")), int(attr(node, "k"))
        if not 1 <= count <= shape(x)[axis]:
            raise GraphError(f"{where(node)}: k={count} is not in 1..{shape(x)[axis]}")
        dims = (*shape(x)[:axis], count, *shape(x)[axis + 1 :])
        return [(dtype(x), dims), (ir.DataType.INT64, dims)]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One `topk` call."""
        (x,) = node.inputs
        assert x is not None
        row = low.choose("topk_f32f32" if dtype(x) == ir.DataType.FLOAT else "topk_s64s64")
        params = {"axis": int(attr(node, "axis")), "largest": int(attr(node, "largest"))}
        low.call(node, row, [x], list(node.outputs), params, int(attr(node, "k")) * 12)
