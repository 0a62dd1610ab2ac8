"""GatherNd: elements or sub-tensors of x picked by tuples of indices."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.gather import check_indices
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.registry import Op, attr, dtype, shape, where


class GatherNd(Op):
    """y[b..., i...] = x[b..., indices[b..., i..., :]], `batch_dims` leading axes in step; any dtype,
    dense."""

    onnx = ("GatherND",)
    inputs = ("x", "indices")
    attributes: ClassVar = {"batch_dims": 0}

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """In logical order."""
        x, indices = node.inputs
        assert x is not None and indices is not None
        batch, array = int(attr(node, "batch_dims", 0)), layout.const(indices)
        for at in range(layout.shape(indices)[-1]):
            check_indices(node, None if array is None else array[..., at], layout.shape(x)[batch + at])
        operands = [layout.plain(x), layout.plain(indices)]
        layout.bind(node.outputs[0], layout.emit("GatherNd", operands, {"batch_dims": batch})[0])

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """Batch dims, the indices' other dims but the last, and what a tuple leaves of x."""
        x, indices = node.inputs
        assert x is not None and indices is not None
        batch, depth = int(attr(node, "batch_dims")), shape(indices)[-1]
        if batch + depth > len(shape(x)) or shape(x)[:batch] != shape(indices)[:batch]:
            raise GraphError(
                f"{where(node)}: {shape(indices)} with batch_dims={batch} does not index {shape(x)}"
            )
        return [(dtype(x), (*shape(indices)[:-1], *shape(x)[batch + depth :]))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One `gather` call."""
        params = {"mode": "nd", "axis": 0, "batch_dims": int(attr(node, "batch_dims"))}
        low.call(node, low.choose("gather_anyany"), list(node.inputs), list(node.outputs), params)
