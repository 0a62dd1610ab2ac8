"""ScatterElements: x with single elements along one axis replaced where an index tensor says."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.gather import check_indices
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.registry import REQUIRED, Op, attr, dtype, shape, where


class ScatterElements(Op):
    """y = x, then y[i][indices[i][j][k]][k] = updates[i][j][k] (for axis 1); any dtype, dense; indices as in
    `Gather`, but one out of range at run time changes nothing. Output: x's shape."""

    onnx = ("ScatterElements",)
    inputs = ("x", "indices", "updates")
    attributes: ClassVar = {"axis": REQUIRED}

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """In logical order; updates replace, they are not added or compared."""
        x, indices, updates = node.inputs
        assert x is not None and indices is not None and updates is not None
        reduction = attr(node, "reduction", "none")
        if reduction != "none":
            raise GraphError(f"{where(node)}: reduction {reduction!r} is not supported, only 'none'")
        axis = int(attr(node, "axis", 0)) % len(layout.shape(x))
        check_indices(node, layout.const(indices), layout.shape(x)[axis])
        operands = [layout.plain(value) for value in (x, indices, updates)]
        layout.bind(node.outputs[0], layout.emit("ScatterElements", operands, {"axis": axis})[0])

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
        return [(dtype(x), shape(x))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One `scatter_elements` call."""
        row, params = low.choose("scatter_elements_anyany"), {"axis": int(attr(node, "axis"))}
        low.call(node, row, list(node.inputs), list(node.outputs), params)
