"""RowNorm: layer and RMS norm over rows, with scale, bias and activation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.registry import REQUIRED, Op, attr, dtype, shape, where


class RowNorm(Op):
    """y = activation((x - mean) / sqrt(variance + epsilon) * scale + bias), f32.

    kind layer | rms (mean taken as 0). x [..., L], scale and bias [L]. Output: shape of x.
    """

    onnx = ("LayerNormalization", "RMSNormalization", "LpNormalization")
    inputs = ("x", "scale?", "bias?")
    attributes: ClassVar = {
        "kind": REQUIRED,
        "epsilon": 1e-5,
        "activation": "none",
        "alpha": 0.0,
        "beta": 0.0,
    }
    strided_inputs = True
    strided_outputs = True
    in_place = True

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """The normalised axes become one row."""
        if node.op_type == "LpNormalization":
            _legalize_lp(node, layout)
        else:
            _legalize_rows(node, layout)

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """Shape of x; scale and bias must fit the last axis."""
        x, *vectors = node.inputs
        assert x is not None
        dims = shape(x)
        if dtype(x) != ir.DataType.FLOAT:
            raise GraphError(f"{where(node)}: x is {dtype(x)}; only f32 is normalised")
        if any(value is not None and shape(value) != (dims[-1],) for value in vectors):
            raise GraphError(f"{where(node)}: scale and bias must be [{dims[-1]}], the last axis of {dims}")
        return [(dtype(x), dims)]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One `row_norm` call."""
        names = ("kind", "epsilon", "activation", "alpha", "beta")
        params = {name: attr(node, name) for name in names}
        low.call(node, low.choose("row_norm_f32f32"), list(node.inputs), list(node.outputs), params)


def _legalize_rows(node: ir.Node, layout: Layouter) -> None:
    x, scale, *rest = node.inputs
    assert x is not None
    dims = layout.shape(x)
    axis = int(attr(node, "axis", -1)) % len(dims)
    length = math.prod(dims[axis:])
    perm = layout.perm(x)
    stays = axis == len(dims) - 1 and perm[-1] == axis
    source = layout.as_perm(x, perm) if stays else layout.alias(layout.plain(x), (*dims[:axis], length))
    vectors = [_row_vector(node, layout, value, dims[axis:]) for value in (scale, *rest[:1])]
    kind = "rms" if node.op_type == "RMSNormalization" else "layer"
    epsilon = float(attr(node, "epsilon", 1e-5))
    made = layout.emit("RowNorm", [source, *vectors], {"kind": kind, "epsilon": epsilon})[0]
    if stays:
        layout.bind(node.outputs[0], made, perm)
    else:
        layout.bind(node.outputs[0], layout.alias(made, dims))
    _bind_statistics(node, layout, x, axis, epsilon)


def _row_vector(
    node: ir.Node, layout: Layouter, value: ir.Value | None, dims: Sequence[int]
) -> ir.Value | None:
    if value is None:
        return None
    array = layout.const(value)
    if array is not None:
        return layout.constant(
            np.ascontiguousarray(np.broadcast_to(array, dims)).reshape(-1), value.name or "scale"
        )
    if math.prod(layout.shape(value)) != math.prod(dims):
        raise GraphError(
            f"{where(node)}: {value.name!r} {layout.shape(value)} is not one number per element of {dims}"
        )
    return layout.alias(layout.plain(value), (math.prod(dims),))


def _bind_statistics(node: ir.Node, layout: Layouter, x: ir.Value, axis: int, epsilon: float) -> None:
    """The optional outputs Mean and InvStdDev of LayerNormalization, where something reads them."""
    wanted = [bool(out.name) and (out.is_graph_output() or bool(out.uses())) for out in node.outputs[1:]]
    if not any(wanted):
        return
    source = layout.plain(x)
    axes = {"axes": list(range(axis, len(layout.shape(x)))), "keepdims": 1}
    mean = layout.emit("Reduce", [source], {"kind": "mean", **axes})[0]
    if wanted[0]:
        layout.bind(node.outputs[1], mean)
    if len(wanted) > 1 and wanted[1]:
        squares = layout.emit("Pointwise", [source, mean], {"program": ["sub i0 i1", "mul t0 t0"]})[0]
        variance = layout.emit("Reduce", [squares], {"kind": "mean", **axes})[0]
        lines = [f"add i0 {epsilon!r}", "sqrt t0", "reciprocal t1"]
        layout.bind(node.outputs[2], layout.emit("Pointwise", [variance], {"program": lines})[0])


def _legalize_lp(node: ir.Node, layout: Layouter) -> None:
    """x / ||x||_p along an axis, 0 where the norm is 0."""
    (x,) = node.inputs
    assert x is not None
    perm = layout.perm(x)
    axis, order = int(attr(node, "axis", -1)) % len(perm), int(attr(node, "p", 2))
    if order not in (1, 2):
        raise GraphError(f"{where(node)}: p={order} is not 1 or 2")
    source = layout.as_perm(x, perm)
    attributes = {"kind": f"l{order}", "axes": [perm.index(axis)], "keepdims": 1}
    norm = layout.emit("Reduce", [source], attributes)[0]
    lines = ["equal i1 0.0", "div i0 i1", "where t0 0.0 t1"]
    layout.bind(node.outputs[0], layout.emit("Pointwise", [source, norm], {"program": lines})[0], perm)
