"""ChannelNorm: instance and group normalisation of NHWC images, with residual and activation."""

from __future__ import annotations

import math
from typing import ClassVar

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.channel_statistics import MOST_BANDS
from tiercast.ops.convolution import residual_of
from tiercast.ops.layouter import CHANNELS_LAST, Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.pointwise import in_order
from tiercast.ops.registry import REQUIRED, Op, attr, dtype, shape, where


class ChannelNorm(Op):
    """y = activation(norm(x) * scale + bias [+ residual]), or activation(...) [+ | *] residual.

    norm(x) = (x - mean) / sqrt(variance + epsilon), x f32 [N,H,W,C]. Means and variances are of `groups`
    groups of channels of an image, by `statistics` [N,bands,3,C] of ChannelStatistics. scale, bias and slope
    f32 [C]; residual like x. Output: like x.
    """

    onnx = ("InstanceNormalization", "GroupNormalization")
    inputs = ("x", "statistics", "scale?", "bias?", "slope?", "residual?")
    attributes: ClassVar = {
        "groups": REQUIRED,
        "epsilon": 1e-5,
        "activation": "none",
        "alpha": 0.0,
        "beta": 0.0,
        "residual_mode": "none",
    }
    strided_inputs = True
    strided_outputs = True
    in_place = True

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """Images keep NHWC; other ranks are rows, scaled by a Pointwise after."""
        x, scale, bias = node.inputs
        assert x is not None and scale is not None and bias is not None
        dims, epsilon = layout.shape(x), float(attr(node, "epsilon", 1e-5))
        groups = dims[1] if node.op_type == "InstanceNormalization" else int(attr(node, "num_groups"))
        if dims[1] % groups:
            raise GraphError(f"{where(node)}: {dims[1]} channels do not divide into num_groups={groups}")
        if len(dims) == 4:
            image = layout.channels_last(x)
            bands = min(MOST_BANDS, math.prod(dims[2:]))
            statistics = layout.emit("ChannelStatistics", [image], {"bands": bands})[0]
            operands = [image, statistics, layout.plain(scale), layout.plain(bias)]
            made = layout.emit("ChannelNorm", operands, {"groups": groups, "epsilon": epsilon})[0]
            layout.bind(node.outputs[0], made, CHANNELS_LAST)
            return
        rows = layout.alias(layout.plain(x), (dims[0] * groups, math.prod(dims[1:]) // groups))
        made = layout.emit("RowNorm", [rows], {"kind": "layer", "epsilon": epsilon})[0]
        along = (1, dims[1], *([1] * (len(dims) - 2)))
        plain = tuple(range(len(dims)))
        vectors = [in_order(layout, value, plain, along) for value in (scale, bias)]
        scaled = layout.emit(
            "Pointwise", [layout.alias(made, dims), *vectors], {"program": ["fma i0 i1 i2"]}
        )[0]
        layout.bind(node.outputs[0], scaled)

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """Shape of x; GraphError when statistics, scale, bias or groups do not fit it."""
        x, statistics, *vectors = node.inputs
        assert x is not None and statistics is not None
        dims, groups = shape(x), int(attr(node, "groups"))
        if dtype(x) != ir.DataType.FLOAT or len(dims) != 4 or groups < 1 or dims[3] % groups:
            raise GraphError(
                f"{where(node)}: x {dtype(x)} {dims} is not f32 N,H,W,C with C divisible by groups={groups}"
            )
        batch, _, rows, channels = shape(statistics) if len(shape(statistics)) == 4 else (0, 0, 0, 0)
        if (batch, rows, channels) != (dims[0], 3, dims[3]):
            raise GraphError(
                f"{where(node)}: statistics {shape(statistics)} are not [N,bands,3,C] of x {dims}"
            )
        if any(value is not None and shape(value) != (dims[3],) for value in vectors[:3]):
            raise GraphError(f"{where(node)}: scale, bias and slope must be [{dims[3]}], the channels")
        return [(dtype(x), dims)]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One `channel_norm` call."""
        names = ("groups", "epsilon", "activation", "alpha", "beta")
        residual, mode = residual_of(node, 5)
        inputs = [*node.inputs[:5], *[None] * (5 - len(node.inputs[:5])), residual]
        channels = shape(node.outputs[0])[3]
        low.call(
            node,
            low.choose("channel_norm_f32f32"),
            inputs,
            list(node.outputs),
            {**{name: attr(node, name) for name in names}, "residual_mode": mode},
            3 * period_of(channels) * 4,
        )


def period_of(channels: int) -> int:
    """Floats after which the channels repeat, as in kernels/channel_norm/channel_norm.h."""
    unit = channels if channels >= 128 else math.lcm(channels, 16)
    return unit * -(-64 // unit)
