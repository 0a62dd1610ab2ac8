"""Gather: slices of x picked by indices along an axis. Fixed neighbouring indices become a window."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.registry import REQUIRED, Op, attr, dtype, shape, where
from tiercast.ops.slice import window


class Gather(Op):
    """y[..., i..., ...] = x[..., indices[i...], ...] along physical `axis`; any dtype, dense; indices s32
    or s64.

    Negative indices count from the end. An index out of range is a GraphError when constant; at run time
    it gives zeros.
    """

    onnx = ("Gather",)
    inputs = ("x", "indices")
    attributes: ClassVar = {"axis": REQUIRED}

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """A window where the indices are constant and neighbours, else a gather in logical order."""
        x, indices = node.inputs
        assert x is not None and indices is not None
        dims, out = layout.shape(x), node.outputs[0]
        axis = int(attr(node, "axis", 0)) % len(dims)
        check_indices(node, layout.const(indices), dims[axis])
        start = _run_start(layout.const(indices), dims[axis])
        if start is None:
            operands = [layout.plain(x), layout.plain(indices)]
            layout.bind(out, layout.emit("Gather", operands, {"axis": axis})[0])
            return
        perm = layout.perm(x)
        count = math.prod(layout.shape(indices))
        starts = [start if at == axis else 0 for at in range(len(dims))]
        sizes = [count if at == axis else dim for at, dim in enumerate(dims)]
        made = window(layout, x, perm, starts, sizes)
        if len(layout.shape(indices)) == 1:
            layout.bind(out, made, perm)
        elif not layout.shape(indices):
            kept = [at for at in perm if at != axis]
            made = layout.alias(made, [sizes[at] for at in kept])
            layout.bind(out, made, [at - (at > axis) for at in kept])
        else:
            plain = window(layout, x, tuple(range(len(dims))), starts, sizes)
            layout.bind(out, layout.alias(plain, layout.shape(out)))

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """x's dims with the axis replaced by the indices' dims."""
        x, indices = node.inputs
        assert x is not None and indices is not None
        axis = int(attr(node, "axis"))
        return [(dtype(x), (*shape(x)[:axis], *shape(indices), *shape(x)[axis + 1 :]))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One `gather` call."""
        params = {"mode": "axis", "axis": int(attr(node, "axis")), "batch_dims": 0}
        low.call(node, low.choose("gather_anyany"), list(node.inputs), list(node.outputs), params)


def check_indices(node: ir.Node, array: np.ndarray | None, length: int) -> None:
    """GraphError when constant indices are outside [-length, length)."""
    if array is not None and array.size and (array.min() < -length or array.max() >= length):
        raise GraphError(
            f"{where(node)}: indices {int(array.min())}..{int(array.max())} leave an axis of {length}"
        )


def _run_start(array: np.ndarray | None, length: int) -> int | None:
    """The first of constant indices that are n, n+1, n+2...; None when they are computed or not
    neighbours."""
    if array is None or not array.size:
        return None
    flat = np.where(array < 0, array + length, array).reshape(-1)
    return int(flat[0]) if bool(np.all(np.diff(flat) == 1)) else None
