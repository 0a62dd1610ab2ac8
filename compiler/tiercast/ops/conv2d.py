"""Conv2d: 2-D convolution over channels-last images, with bias, residual and activation fused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops import groups, winograd
from tiercast.ops.convolution import (
    add_computed_bias,
    bias_operands,
    bind_image,
    channel_vector,
    constant_weight,
    explicit_pads,
    gate_params,
    image_input,
    residual_of,
    spatial_values,
    weight_name,
    weight_of,
    window_size,
)
from tiercast.ops.copy import emit_copy
from tiercast.ops.depthwise_conv2d import MAX_KERNEL_ROWS
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.panels import panels_for
from tiercast.ops.registry import REALS, Op, attr, dense_strides, dtype, real_row, shape, shape_key, where
from tiercast.ops.volume import convolve_volume, is_volume

BLOCK_FLOATS = 32768  # im2row rows a block may take: 128 KB stay in the second-level cache
REPACKED_COLUMNS = 8  # as in kernels/conv2d/conv2d.h: scratch for thin panels
LEAST_REPEATED = 16  # a vector of any row of depthwise_conv2d
BLOCK_ROWS = (16, 192)  # what the kernels take at least, and can use at most


class Conv2d(Op):
    """y = activation(conv(x, weight) + bias [+ residual]), or activation(...) [+ | *] residual.

    upsample: x is enlarged first, each pixel to upsample[0] x upsample[1] (nearest neighbour); not for 1x1.
    gated: y = activation(f) * gate_activation(g), where f and g are the first and the second half of the
    convolution's channels: weight [2 OC,...], bias [2 OC], one group, no slope, no residual.

    x f32 or f16 [N,H,W,C]; weight constant [OC,C/group,KH,KW]; bias, slope constant [OC]; residual like y.
    pads = top, left, bottom, right, all >= 0; pad_mode zero | reflect | replicate.
    statistics: 0, or the bands of a second output f32 [1,bands,3,OC], which ChannelNorm takes: statistics of
    some of y's pixels each, or of none. Of one image, of sums without activation or residual.
    Output like x [N,OH,OW,OC], OH = (H + top + bottom - (KH - 1) * dilation - 1) // stride + 1.
    """

    onnx = ("Conv",)
    inputs = ("x", "weight", "bias?", "slope?", "residual?")
    half = True
    attributes: ClassVar = {
        "strides": [1, 1],
        "pads": [0, 0, 0, 0],
        "dilations": [1, 1],
        "group": 1,
        "pad_mode": "zero",
        "activation": "none",
        "alpha": 0.0,
        "beta": 0.0,
        "residual_mode": "none",
        "upsample": [1, 1],
        "gated": 0,
        "gate_activation": "none",
        "gate_alpha": 0.0,
        "gate_beta": 0.0,
        "statistics": 0,
    }
    strided_inputs = True
    strided_outputs = True

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """ONNX Conv to Conv2d or (each channel a group) DepthwiseConv2d; volumes as `volume.py` says.

        GraphError for computed weights and negative pads.
        """
        if is_volume(node, layout):
            return convolve_volume(node, layout)
        image, spatial = image_input(node, layout)
        weight = constant_weight(node, layout)
        strides = spatial_values(node, "strides", 1, spatial)
        dilations = spatial_values(node, "dilations", 1, spatial)
        group = int(attr(node, "group", 1))
        pads = explicit_pads(node, shape(image)[1:3], weight.shape[2:], strides, dilations, spatial)
        attributes: dict[str, object] = {"strides": strides, "pads": pads, "dilations": dilations}
        depthwise = is_depthwise(weight, group)
        if depthwise:
            image = repeat_channels(layout, image, weight.shape[0] // group)
        else:
            attributes |= {"group": group}
        bias, computed_bias = bias_operands(node, layout)
        operands = [image, layout.constant(weight, weight_name(node)), bias]
        made = layout.emit("DepthwiseConv2d" if depthwise else "Conv2d", operands, attributes)[0]
        bind_image(node, layout, add_computed_bias(layout, made, computed_bias), spatial)

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """[N,OH,OW,OC] of x's type; GraphError when channels, groups or the kernel do not fit."""
        x = node.inputs[0]
        assert x is not None
        weight, group = weight_of(node), attr(node, "group")
        if len(shape(x)) != 4 or dtype(x) not in REALS:
            raise GraphError(f"{where(node)}: x must be f32 or f16 [N,H,W,C], it is {dtype(x)} {shape(x)}")
        batch, height, width, channels = shape(x)
        if group < 1 or channels != weight.shape[1] * group or weight.shape[0] % group:
            raise GraphError(
                f"{where(node)}: {channels} channels, weight {weight.shape}: group={group} does not fit"
            )
        down, across = attr(node, "upsample")
        out_size = window_size(node, height * down, 0), window_size(node, width * across, 1)
        out_channels = weight.shape[0] // (2 if attr(node, "gated") else 1)
        made: list[tuple[ir.DataType, tuple[int, ...]]] = [(dtype(x), (batch, *out_size, out_channels))]
        bands = int(attr(node, "statistics"))
        if bands == 0:
            return made
        reason = statistics_refusal(node)
        if reason is not None or not 0 < bands <= math.prod(out_size):
            why = reason or "there may be one per pixel at most"
            raise GraphError(f"{where(node)}: statistics={bands}: {why}")
        return [*made, (ir.DataType.FLOAT, (1, bands, 3, out_channels))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One call, by the algorithm that is expected to be fastest among those that are exact enough."""
        refusals = {tile: winograd.refusal(node, tile) for tile in winograd.tiles_for(node)}
        if not refusals:
            return self._lower_direct(node, low, ())
        lines = tuple(f"{tile.op}: {reason}" for tile, reason in refusals.items() if reason)
        allowed = [tile for tile, reason in refusals.items() if reason is None]
        chosen = low.decide(shape_key(node), _predicted_us(node, allowed, low))
        for tile in allowed:
            if chosen == tile.op:
                return winograd.lower_winograd(node, low, tile, lines)
        self._lower_direct(node, low, lines)

    def _lower_direct(self, node: ir.Node, low: Lowering, refused: tuple[str, ...]) -> None:
        """Weight, bias and slope packed for the chosen row, small groups joined."""
        row = low.choose(real_row("conv2d", node.outputs[0]))
        together = groups.decide_together(node, row, low)
        weight = groups.join(weight_of(node), attr(node, "group"), together)
        group = attr(node, "group") // together
        out_channels, in_channels, kernel_h, kernel_w = weight.shape
        panels = panels_for(row)
        k, columns = kernel_h * kernel_w * in_channels, out_channels // group
        grouped = weight.reshape(group, columns, in_channels, kernel_h, kernel_w).transpose(0, 3, 4, 2, 1)
        matrix = grouped.reshape(group, k, columns)
        bias = channel_vector(node, 2, out_channels, default=0.0).reshape(group, columns)
        gate = gate_params(node)
        if gate["gated"]:
            matrix, bias = panels.gated(matrix), panels.gated(bias)
        slope = channel_vector(node, 3, out_channels)
        residual, residual_mode = residual_of(node, 4)
        block = max(BLOCK_ROWS[0], min(BLOCK_ROWS[1], BLOCK_FLOATS // k))
        in_place = (kernel_h, kernel_w) == (1, 1) and not any(attr(node, "pads"))
        low.call(
            node,
            row,
            inputs=[
                node.inputs[0],
                low.weight(matrix, "weight", panels),
                low.const(panels.pad(bias), "bias"),
                None if slope is None else low.const(panels.pad(slope.reshape(group, columns)), "slope"),
                residual,
            ],
            outputs=[node.outputs[0]],
            params={
                "kernel": [kernel_h, kernel_w],
                "strides": attr(node, "strides"),
                "dilations": attr(node, "dilations"),
                "pads": attr(node, "pads"),
                "group": group,
                "pad_mode": attr(node, "pad_mode"),
                "upsample": attr(node, "upsample"),
                "activation": attr(node, "activation"),
                "alpha": attr(node, "alpha"),
                "beta": attr(node, "beta"),
                "residual_mode": residual_mode,
                **gate,
                "panel": panels.panel,
                "granule": panels.granule,
                "block": block,
            },
            scratch_bytes=((0 if in_place and row.isa != "neon" else block) + REPACKED_COLUMNS) * k * 4,
            refused=refused,
        )
        if attr(node, "statistics"):
            low.call(node, low.choose("channel_statistics_f32f32"), [node.outputs[0]], [node.outputs[1]], {})

    def macs(self, node: ir.Node) -> int:
        """Output pixels times taps, channels of a group and sums."""
        batch, height, width, _ = shape(node.outputs[0])
        return batch * height * width * weight_of(node).size


def is_depthwise(weight: np.ndarray, group: int) -> bool:
    """Whether the groups are single channels, which DepthwiseConv2d computes: repeated, if each has several
    filters and together they fill vectors.
    """
    filters, channels, kernel_rows, _ = weight.shape
    enough = filters == group or filters >= LEAST_REPEATED
    return group > 1 and channels == 1 and enough and filters % group == 0 and kernel_rows <= MAX_KERNEL_ROWS


def repeat_channels(layout: Layouter, image: ir.Value, times: int) -> ir.Value:
    """The image [N,H,W,C] as [N,H,W,C * times], every channel `times` times in succession."""
    if times == 1:
        return image
    *outer, channels = shape(image)
    dims = (*outer, channels, times)
    steps = (*dense_strides(shape(image)), 0)
    return emit_copy(layout, image, list(zip(dims, steps, strict=True)), (*outer, channels * times))


def statistics_refusal(node: ir.Node) -> str | None:
    """Why a Conv2d can't give statistics of its result, None when it can."""
    x = node.inputs[0]
    assert x is not None
    if dtype(x) != ir.DataType.FLOAT:
        return "they are of f32 only"
    if shape(x)[0] != 1:
        return f"they are of one image, it has {shape(x)[0]}"
    if attr(node, "dilations") != [1, 1]:
        return f"it is dilated by {attr(node, 'dilations')}"
    if attr(node, "activation") != "none" or attr(node, "residual_mode") != "none" or attr(node, "gated"):
        return "it has an activation, a residual or a gate"
    return None


def _predicted_us(node: ir.Node, allowed: Sequence[winograd.Tile], low: Lowering) -> dict[str, float]:
    """Kernel op -> predicted microseconds, of the direct kernel and the Winograd algorithms `allowed`."""
    direct = low.choose(real_row("conv2d", node.outputs[0]))
    times = {direct.op: winograd.direct_us(node, direct)}
    for tile in allowed:
        row = low.choose(tile.op)
        times[row.op] = winograd.predicted_us(node, row, tile)
    return times
