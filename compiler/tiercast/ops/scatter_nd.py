"""ScatterNd: x with elements or sub-tensors replaced or reduced where tuples of indices say."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.gather import check_indices
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.registry import Op, attr, dtype, shape, where
from tiercast.ops.scatter_elements import check_reduction, reduction_of


class ScatterNd(Op):
    """y = x, then y[indices[i..., :]] = updates[i...], or with `reduction` add, mul, max or min that of both,
    also where a tuple is met again; any dtype, f32 and integers for reductions; dense; a tuple out of range
    at run time changes nothing. Output: x's shape."""

    onnx = ("ScatterND",)
    inputs = ("x", "indices", "updates")
    attributes: ClassVar = {"reduction": "none"}

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """In logical order."""
        x, indices, updates = node.inputs
        assert x is not None and indices is not None and updates is not None
        array = layout.const(indices)
        for at, length in enumerate(layout.shape(x)[: layout.shape(indices)[-1]]):
            check_indices(node, None if array is None else array[..., at], length)
        operands = [layout.plain(value) for value in (x, indices, updates)]
        layout.bind(node.outputs[0], layout.emit("ScatterNd", operands, {"reduction": reduction_of(node)})[0])

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """x's shape."""
        x, indices, updates = node.inputs
        assert x is not None and indices is not None and updates is not None
        depth = shape(indices)[-1] if shape(indices) else 0
        wanted = (*shape(indices)[:-1], *shape(x)[depth:])
        if not 1 <= depth <= len(shape(x)) or shape(updates) != wanted or dtype(updates) != dtype(x):
            raise GraphError(
                f"{where(node)}: updates {dtype(updates)} {shape(updates)} at tuples {shape(indices)} do not "
                f"fit into {dtype(x)} {shape(x)}"
            )
        check_reduction(node, x)
        return [(dtype(x), shape(x))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One `scatter_nd` call."""
        params = {"reduction": attr(node, "reduction")}
        low.call(node, low.choose("scatter_nd_anyany"), list(node.inputs), list(node.outputs), params)
