"""Reduce: sums, means, extrema and norms over axes, in whatever memory order the input has."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ir.dtypes import NAMES, ONLY_MOVED
from tiercast.ops.copy import optional_ints
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.registry import REALS, REQUIRED, Op, attr, dtype, real_row, shape, where

_KINDS = {
    "ReduceSum": "sum",
    "ReduceMean": "mean",
    "ReduceMax": "max",
    "ReduceMin": "min",
    "ReduceProd": "prod",
    "ReduceL1": "l1",
    "ReduceL2": "l2",
    "ReduceSumSquare": "sum_square",
    "ReduceLogSum": "log_sum",
    "ReduceLogSumExp": "log_sum_exp",
    "GlobalAveragePool": "mean",
    "GlobalMaxPool": "max",
}


class Reduce(Op):
    """y = kind(x over physical `axes`); f32, or integers and bool in 64 bits that wrap.

    kind: sum mean max min prod l1 l2 sum_square log_sum log_sum_exp. Output: x's dims, reduced ones 1
    (keepdims) or gone.
    """

    onnx = tuple(_KINDS)
    inputs = ("x",)
    half = True
    attributes: ClassVar = {"kind": REQUIRED, "axes": REQUIRED, "keepdims": 1}
    strided_inputs = True

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """Keeps the input's order; without keepdims the reduced axes leave it."""
        x, out = node.inputs[0], node.outputs[0]
        assert x is not None
        rank, perm = len(layout.shape(x)), layout.perm(x)
        axes, keepdims = _axes(node, layout, rank)
        if not axes:
            layout.bind(out, layout.as_perm(x, perm), perm)
            return
        physical = [at for at, axis in enumerate(perm) if axis in axes]
        attributes = {"kind": _KINDS[node.op_type], "axes": physical, "keepdims": keepdims}
        made = layout.emit("Reduce", [layout.as_perm(x, perm)], attributes)[0]
        kept = [axis for axis in range(rank) if axis not in axes]
        layout.bind(out, made, perm if keepdims else [kept.index(axis) for axis in perm if axis not in axes])

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """x's dims with the reduced ones 1 or gone."""
        (x,) = node.inputs
        assert x is not None
        axes = attr(node, "axes")
        if any(not 0 <= axis < len(shape(x)) for axis in axes):
            raise GraphError(f"{where(node)}: axes {axes} are not axes of {shape(x)}")
        if attr(node, "keepdims"):
            return [(dtype(x), tuple(1 if axis in axes else dim for axis, dim in enumerate(shape(x))))]
        return [(dtype(x), tuple(dim for axis, dim in enumerate(shape(x)) if axis not in axes))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One `reduce` call."""
        (x,) = node.inputs
        assert x is not None
        ordered = dtype(x) == ir.DataType.UINT64 and attr(node, "kind") in ("max", "min", "mean")
        if dtype(x) in ONLY_MOVED or ordered:
            raise GraphError(
                f"{where(node)}: {attr(node, 'kind')} of {NAMES[dtype(x)]} is not computed; cast to f32 first"
            )
        row = low.choose(real_row("reduce", x) if dtype(x) in REALS else "reduce_s64s64")
        mask = sum(1 << int(axis) for axis in set(attr(node, "axes")))
        low.call(node, row, [x], list(node.outputs), {"axes": mask, "kind": attr(node, "kind")})


def _axes(node: ir.Node, layout: Layouter, rank: int) -> tuple[list[int], int]:
    if node.op_type.startswith("Global"):
        return list(range(2, rank)), 1
    given = optional_ints(node, layout, 1, "axes") or []
    if not given and not attr(node, "noop_with_empty_axes", 0):
        given = list(range(rank))
    return [axis % rank for axis in given], int(attr(node, "keepdims", 1))
