"""Trilu: the upper or lower triangle of matrices."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.copy import optional_ints
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.registry import Op, attr, dtype, shape, where


class Trilu(Op):
    """y = x[..., R, C] where column >= row + k (upper) or <= row + k (lower), zeros elsewhere; any dtype,
    dense."""

    onnx = ("Trilu",)
    inputs = ("x",)
    attributes: ClassVar = {"k": 0, "upper": 1}

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """In logical order."""
        x = node.inputs[0]
        assert x is not None
        (offset,) = optional_ints(node, layout, 1, "k") or [0]
        rank = len(layout.shape(x))
        if rank < 2:
            raise GraphError(f"{where(node)}: {layout.shape(x)} holds no matrices")
        limit = max(layout.shape(x)[-2:])
        attributes = {"k": max(-limit, min(limit, offset)), "upper": int(attr(node, "upper", 1))}
        layout.bind(node.outputs[0], layout.emit("Trilu", [layout.plain(x)], attributes)[0])

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """Shape of x."""
        (x,) = node.inputs
        assert x is not None
        return [(dtype(x), shape(x))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One `trilu` call."""
        params = {"k": int(attr(node, "k")), "upper": int(attr(node, "upper"))}
        low.call(node, low.choose("trilu_anyany"), list(node.inputs), list(node.outputs), params)
