"""ScatterElements: x with single elements along one axis replaced or reduced where an index tensor says."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.gather import check_indices
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.registry import REQUIRED, Op, attr, dtype, shape, where

REDUCTIONS = ("none", "add", "mul", "max", "min")
_NOT_REDUCED = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)


class ScatterElements(Op):
    """y = x, then y[i][indices[i][j][k]][k] = updates[i][j][k] (for axis 1), or by `reduction` add, mul, max
    or min that of both, also where an index is met again; any dtype, f32 and integers for reductions; dense;
    indices as in `Gather`, but one out of range at run time changes nothing. Output: x's shape."""

    onnx = ("ScatterElements",)
    inputs = ("x", "indices", "updates")
    attributes: ClassVar = {"axis": REQUIRED, "reduction": "none"}

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """In logical order."""
        x, indices, updates = node.inputs
        assert x is not None and indices is not None and updates is not None
        axis = int(attr(node, "axis", 0)) % len(layout.shape(x))
        check_indices(node, layout.const(indices), layout.shape(x)[axis])
        operands = [layout.plain(value) for value in (x, indices, updates)]
        attributes = {"axis": axis, "reduction": reduction_of(node)}
        layout.bind(node.outputs[0], layout.emit("ScatterElements", operands, attributes)[0])

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """x's shape."""
        x, indices, updates = node.inputs
        assert x is not None and indices is not None and updates is not None
        axis, dims = int(attr(node, "axis")), shape(indices)
        lies = len(dims) == len(shape(x)) and all(
            at == axis or a <= b for at, (a, b) in enumerate(zip(dims, shape(x), strict=True))
        )
        if not lies or shape(updates) != dims or dtype(updates) != dtype(x):
            raise GraphError(
                f"{where(node)}: updates {dtype(updates)} {shape(updates)} at indices {dims} do not fit into "
                f"{dtype(x)} {shape(x)} along axis {axis}"
            )
        check_reduction(node, x)
        return [(dtype(x), shape(x))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One `scatter_elements` call."""
        params = {"axis": int(attr(node, "axis")), "reduction": attr(node, "reduction")}
        low.call(node, low.choose("scatter_elements_anyany"), list(node.inputs), list(node.outputs), params)


def reduction_of(node: ir.Node) -> str:
    """An ONNX scatter's reduction by its name."""
    given = attr(node, "reduction", "none")
    return given.decode() if isinstance(given, bytes) else str(given)


def check_reduction(node: ir.Node, x: ir.Value) -> None:
    """GraphError when a physical scatter's reduction is unknown, or not computed for x's dtype."""
    reduction = attr(node, "reduction")
    if reduction not in REDUCTIONS:
        raise GraphError(f"{where(node)}: reduction {reduction!r} is unknown; known: {', '.join(REDUCTIONS)}")
    if reduction != "none" and dtype(x) in _NOT_REDUCED:
        raise GraphError(f"{where(node)}: reduction {reduction!r} of {dtype(x)}; f32 and integers only")
