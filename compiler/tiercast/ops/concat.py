"""Concat: joins values along an axis; planned in place by `lower/` where the pieces' producers can write a
window."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.layouter import Layouter
from tiercast.ops.pointwise import preferred_perm
from tiercast.ops.registry import REQUIRED, Op, attr, dtype, shape, where


class Concat(Op):
    """y = inputs joined along physical `axis`; all other dims equal. Output: that shape, the inputs'
    dtype."""

    onnx = ("Concat",)
    inputs = ("inputs*",)
    half = True
    attributes: ClassVar = {"axis": REQUIRED}
    strided_inputs = True
    strided_outputs = True

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """All pieces in the order that a computed one already has."""
        pieces = [value for value in node.inputs if value is not None]
        rank = len(layout.shape(node.outputs[0]))
        axis = int(attr(node, "axis")) % rank
        computed = [value for value in pieces if layout.const(value) is None]
        perm = preferred_perm(
            layout, computed, layout.shape(computed[0]) if computed else layout.shape(pieces[0])
        )
        made = layout.emit(
            "Concat", [layout.as_perm(value, perm) for value in pieces], {"axis": perm.index(axis)}
        )[0]
        layout.bind(node.outputs[0], made, perm)

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """Sum of the pieces along the axis."""
        pieces = [value for value in node.inputs if value is not None]
        axis = int(attr(node, "axis"))
        first = shape(pieces[0])
        rest = {shape(piece)[:axis] + shape(piece)[axis + 1 :] for piece in pieces}
        if not 0 <= axis < len(first) or len(rest) != 1 or len({dtype(piece) for piece in pieces}) != 1:
            raise GraphError(
                f"{where(node)}: {[shape(piece) for piece in pieces]} do not join along axis {axis}"
            )
        return [
            (
                dtype(pieces[0]),
                (*first[:axis], sum(shape(piece)[axis] for piece in pieces), *first[axis + 1 :]),
            )
        ]
