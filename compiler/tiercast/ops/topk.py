"""TopK: the k largest or smallest elements along an axis."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.copy import constant_ints
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.registry import REQUIRED, Op, attr, dtype, shape, where


class TopK(Op):
    """values (f32) and indices (s64) of the k largest (or smallest) elements along `axis`, best first, ties by index.

    x: f32, dense. Outputs: x's dims with `axis` of length k.
    """

    onnx = ("TopK",)
    inputs = ("x",)
    attributes: ClassVar = {"k": REQUIRED, "axis": REQUIRED, "largest": 1}

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """Keeps the input's order. An unsorted request gets a sorted answer, which is one of the right ones."""
        x = node.inputs[0]
        assert x is not None
        perm, rank = layout.perm(x), len(layout.shape(x))
        (k,) = constant_ints(node, layout, 1, "k")
        axis = perm.index(int(attr(node, "axis", -1)) % rank)
        attributes = {"k": k, "axis": axis, "largest": int(attr(node, "largest", 1))}
        made = layout.emit("TopK", [layout.as_perm(x, perm)], attributes, outputs=2)
        for value, physical in zip(node.outputs, made, strict=True):
            layout.bind(value, physical, perm)

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """f32 values and s64 indices."""
        (x,) = node.inputs
        assert x is not None
        axis, k = int(attr(node, "axis")), int(attr(node, "k"))
        if dtype(x) != ir.DataType.FLOAT:
            raise GraphError(f"{where(node)}: element type {dtype(x).name} is not f32; cast it first")
        if not 0 <= axis < len(shape(x)) or not 1 <= k <= shape(x)[axis]:
            raise GraphError(f"{where(node)}: k={k} along axis {axis} does not fit shape {shape(x)}")
        dims = (*shape(x)[:axis], k, *shape(x)[axis + 1 :])
        return [(ir.DataType.FLOAT, dims), (ir.DataType.INT64, dims)]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One `topk` call; scratch holds the indices of one line."""
        params = {"axis": int(attr(node, "axis")), "smallest": 1 - int(attr(node, "largest"))}
        row = low.choose("topk_f32f32")
        low.call(node, row, list(node.inputs), list(node.outputs), params, scratch_bytes=8 * int(attr(node, "k")))
