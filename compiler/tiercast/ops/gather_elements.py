"""GatherElements: single elements of x picked by an index tensor along one axis."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.gather import check_indices
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.registry import REQUIRED, Op, attr, dtype, shape, where


class GatherElements(Op):
    """y[i][j][k] = x[i][indices[i][j][k]][k] (for axis 1); any dtype, dense; indices as in `Gather`.
    Output: indices' shape."""

    onnx = ("GatherElements",)
    inputs = ("x", "indices")
    attributes: ClassVar = {"axis": REQUIRED}

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """In logical order."""
        x, indices = node.inputs
        assert x is not None and indices is not None
        axis = int(attr(node, "axis", 0)) % len(layout.shape(x))
        check_indices(node, layout.const(indices), layout.shape(x)[axis])
        operands = [layout.plain(x), layout.plain(indices)]
        layout.bind(node.outputs[0], layout.emit("GatherElements", operands, {"axis": axis})[0])

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """The indices' shape."""
        x, indices = node.inputs
        assert x is not None and indices is not None
        axis = int(attr(node, "axis"))
        pairs = zip(shape(indices), shape(x), strict=False)
        if len(shape(x)) != len(shape(indices)) or any(
            at != axis and a > b for at, (a, b) in enumerate(pairs)
        ):
            raise GraphError(
                f"{where(node)}: indices {shape(indices)} do not lie in {shape(x)} but for axis {axis}"
            )
        return [(dtype(x), shape(indices))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One `gather` call."""
        params = {"mode": "elements", "axis": int(attr(node, "axis")), "batch_dims": 0}
        low.call(node, low.choose("gather_anyany"), list(node.inputs), list(node.outputs), params)
