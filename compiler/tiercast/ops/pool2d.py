"""Pool2d: max and average pooling of NHWC images; ONNX pools of one or three spatial axes are made of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.registry import REALS, REQUIRED, Op, attr, dtype, real_row, shape, where


class Pool2d(Op):
    """y[N,OH,OW,C] = max or average over kernel windows of x[N,H,W,C], f32 or f16.

    kind: max average. pads: t, l, b, r. count_include_pad: padding counts in the average's divisor.
    ceil_mode: the last
    window may leave the padded image, if it starts on it.
    """

    onnx = ("MaxPool", "AveragePool")
    inputs = ("x",)
    half = True
    attributes: ClassVar = {
        "kind": REQUIRED,
        "kernel": REQUIRED,
        "strides": [1, 1],
        "pads": [0, 0, 0, 0],
        "dilations": [1, 1],
        "count_include_pad": 0,
        "ceil_mode": 0,
    }
    strided_inputs = True
    strided_outputs = True

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """Channels last; three axes are pooled two and one at a time, which is the same for maxima and box
        averages."""
        x, out = node.inputs[0], node.outputs[0]
        assert x is not None
        if len(node.outputs) > 1 and (node.outputs[1].uses() or node.outputs[1].is_graph_output()):
            raise GraphError(f"{where(node)}: the Indices output is not computed; remove it from the model")
        dims = layout.shape(x)
        spatial = len(dims) - 2
        if not 1 <= spatial <= 3:
            raise GraphError(f"{where(node)}: {dims} has {spatial} spatial axes; one to three are pooled")
        axes = [_axis(node, at, dims[2 + at]) for at in range(spatial)]
        perm = (0, *range(2, len(dims)), 1)
        image = layout.as_perm(x, perm)
        kind = layout.dtype(x)
        whole = kind == ir.DataType.INT8 and node.op_type == "MaxPool"
        if kind != ir.DataType.FLOAT and not whole:
            image = layout.emit("Cast", [image], {"to": int(ir.DataType.FLOAT)})[0]
        batch, channels = dims[0], dims[1]
        *depth, rows, cols = [_NONE, *axes] if spatial == 1 else axes
        heights = dims[2:] if spatial > 1 else (1, dims[2])
        image = layout.alias(image, (batch * math.prod(heights[:-2]), *heights[-2:], channels))
        image = _pool(node, layout, image, rows, cols)
        if depth:
            plane = math.prod(shape(image)[1:3])
            image = _pool(
                node, layout, layout.alias(image, (batch, heights[0], plane, channels)), depth[0], _NONE
            )
        made = layout.alias(image, [layout.shape(out)[axis] for axis in perm])
        if layout.dtype(x) != dtype(made):
            made = layout.emit("Cast", [made], {"to": int(kind)})[0]
        layout.bind(out, made, perm)

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """[N, OH, OW, C]."""
        (x,) = node.inputs
        assert x is not None
        dims = shape(x)
        if len(dims) != 4 or dtype(x) not in REALS:
            raise GraphError(f"{where(node)}: x is {dtype(x)} {dims}; an f32 or f16 image N,H,W,C is needed")
        return [
            (dtype(x), (dims[0], pooled_length(node, 0, dims[1]), pooled_length(node, 1, dims[2]), dims[3]))
        ]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One `pool2d` call."""
        names = ("kind", "kernel", "strides", "pads", "dilations", "count_include_pad")
        params = {name: attr(node, name) for name in names}
        low.call(
            node,
            low.choose(real_row("pool2d", node.outputs[0])),
            list(node.inputs),
            list(node.outputs),
            params,
        )


@dataclass(frozen=True)
class _Axis:
    """Pooling along one axis."""

    kernel: int
    stride: int
    dilation: int
    before: int
    after: int


_NONE = _Axis(1, 1, 1, 0, 0)


def _axis(node: ir.Node, at: int, length: int) -> _Axis:
    kernels: Sequence[int] = attr(node, "kernel_shape")
    spatial = len(kernels)
    kernel, auto = kernels[at], attr(node, "auto_pad", "NOTSET")
    stride = (attr(node, "strides") or [1] * spatial)[at]
    dilation = (attr(node, "dilations") or [1] * spatial)[at]
    pads = attr(node, "pads") or [0] * (2 * spatial)
    before, after = (pads[at], pads[at + spatial]) if auto == "NOTSET" else (0, 0)
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        reach = (-(-length // stride) - 1) * stride + (kernel - 1) * dilation + 1
        total = max(reach - length, 0)
        before = total // 2 if auto == "SAME_UPPER" else -(-total // 2)
        after = total - before
    return _Axis(kernel, stride, dilation, before, after)


def window_attributes(node: ir.Node, dims: Sequence[int]) -> dict[str, Any]:
    """kernel, strides, pads... of an ONNX pool over an image of height and width `dims`."""
    rows, cols = (_axis(node, at, dims[at]) for at in (0, 1))
    return _attributes(node, rows, cols)


def _attributes(node: ir.Node, rows: _Axis, cols: _Axis) -> dict[str, Any]:
    return {
        "kernel": [rows.kernel, cols.kernel],
        "strides": [rows.stride, cols.stride],
        "pads": [rows.before, cols.before, rows.after, cols.after],
        "dilations": [rows.dilation, cols.dilation],
        "count_include_pad": int(attr(node, "count_include_pad", 0)),
        "ceil_mode": int(attr(node, "ceil_mode", 0)),
    }


def _pool(node: ir.Node, layout: Layouter, image: ir.Value, rows: _Axis, cols: _Axis) -> ir.Value:
    attributes = {
        "kind": "max" if node.op_type == "MaxPool" else "average",
        **_attributes(node, rows, cols),
    }
    op_type = "QuantizedPool2d" if dtype(image) == ir.DataType.INT8 else "Pool2d"
    return layout.emit(op_type, [image], attributes)[0]


def pooled_length(node: ir.Node, axis: int, length: int) -> int:
    """Output pixels of an axis of `length` (0: rows, 1: columns)."""
    pads, stride = attr(node, "pads"), attr(node, "strides")[axis]
    reach = (attr(node, "kernel")[axis] - 1) * attr(node, "dilations")[axis] + 1
    room = length + pads[axis] + pads[axis + 2] - reach
    if room < 0:
        raise GraphError(
            f"{where(node)}: a window of {reach} does not fit on {length} pixels with pads {pads}"
        )
    if not attr(node, "ceil_mode"):
        return int(room // stride) + 1
    count = -(-room // stride) + 1
    # A window that would start beyond the image and its leading pad is dropped.
    return int(count - 1 if (count - 1) * stride >= length + pads[axis] else count)
