"""ConvTranspose2d: transposed convolution over channels-last images, with bias and activation fused."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.convolution import (
    add_computed_bias,
    bias_operands,
    bind_image,
    channel_vector,
    constant_weight,
    explicit_pads,
    image_input,
    spatial_values,
    weight_name,
    weight_of,
)
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.panels import panels_for
from tiercast.ops.registry import REALS, Op, attr, dtype, real_row, shape, where
from tiercast.ops.volume import is_volume, transpose_volume

BLOCK_FLOATS = 32768
BLOCK_ROWS = (16, 192)
MAX_STRIDE = 64


class ConvTranspose2d(Op):
    """y = activation(conv_transpose(x, weight) + bias).

    x f32 [N,H,W,C]; weight f32 constant [C,OC/group,KH,KW]; bias, slope f32 constant [OC].
    pads = top, left, bottom, right, all >= 0; strides at most 64.
    Output f32 [N,OH,OW,OC], OH = (H - 1) * stride - top - bottom + (KH - 1) * dilation + 1 + output_padding.
    """

    onnx = ("ConvTranspose",)
    inputs = ("x", "weight", "bias?", "slope?")
    half = True
    attributes: ClassVar = {
        "strides": [1, 1],
        "pads": [0, 0, 0, 0],
        "dilations": [1, 1],
        "group": 1,
        "output_padding": [0, 0],
        "activation": "none",
        "alpha": 0.0,
        "beta": 0.0,
    }
    strided_inputs = True
    strided_outputs = True

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """ONNX ConvTranspose; volumes as `volume.py` says. GraphError for computed weights, negative pads."""
        if is_volume(node, layout):
            x, weight = node.inputs[0], constant_weight(node, layout)
            assert x is not None
            sizes = transpose_attributes(node, layout.shape(x)[2:], weight.shape[2:], 3)
            return transpose_volume(node, layout, sizes)
        image, spatial = image_input(node, layout)
        weight = constant_weight(node, layout)
        attributes = transpose_attributes(node, shape(image)[1:3], weight.shape[2:], spatial)
        bias, computed_bias = bias_operands(node, layout)
        operands = [image, layout.constant(weight, weight_name(node)), bias]
        made = layout.emit("ConvTranspose2d", operands, attributes)[0]
        bind_image(node, layout, add_computed_bias(layout, made, computed_bias), spatial)

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """f32 [N,OH,OW,OC]; GraphError when channels or sizes do not fit."""
        x = node.inputs[0]
        assert x is not None
        weight, group = weight_of(node), attr(node, "group")
        if len(shape(x)) != 4 or dtype(x) not in REALS:
            raise GraphError(f"{where(node)}: x must be f32 or f16 [N,H,W,C], it is {dtype(x)} {shape(x)}")
        batch, height, width, channels = shape(x)
        if channels != weight.shape[0] or group < 1 or channels % group:
            raise GraphError(
                f"{where(node)}: {channels} channels, weight {weight.shape}: group={group} does not fit"
            )
        if max(attr(node, "strides")) > MAX_STRIDE:
            raise GraphError(f"{where(node)}: strides={attr(node, 'strides')} must be at most {MAX_STRIDE}")
        sizes = (_size(node, height, 0), _size(node, width, 1))
        return [(dtype(x), (batch, *sizes, weight.shape[1] * group))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One call; the weight is packed phase by phase for the chosen row."""
        weight, group = weight_of(node), attr(node, "group")
        channels, columns, kernel_h, kernel_w = weight.shape
        strides, dilations = attr(node, "strides"), attr(node, "dilations")
        row = low.choose(real_row("conv_transpose2d", node.outputs[0]))
        panels = panels_for(row)
        grouped = weight.reshape(group, channels // group, columns, kernel_h, kernel_w)
        phases = [
            (_taps(kernel_h, strides[0], dilations[0], ry), _taps(kernel_w, strides[1], dilations[1], rx))
            for ry in range(strides[0])
            for rx in range(strides[1])
        ]
        packed = [
            panels.pack(grouped[g][:, :, ys][:, :, :, xs].transpose(2, 3, 0, 1).reshape(-1, columns))
            for g in range(group)
            for ys, xs in phases
            if ys and xs
        ]
        k = channels // group * max(len(ys) for ys, _ in phases) * max(len(xs) for _, xs in phases)
        block = max(BLOCK_ROWS[0], min(BLOCK_ROWS[1], BLOCK_FLOATS // k))
        out_channels = columns * group
        bias = channel_vector(node, 2, out_channels, default=0.0)
        slope = channel_vector(node, 3, out_channels)
        low.call(
            node,
            row,
            inputs=[
                node.inputs[0],
                low.weight(np.concatenate(packed), "weight"),
                low.const(panels.pad(bias.reshape(group, columns)), "bias"),
                None if slope is None else low.const(panels.pad(slope.reshape(group, columns)), "slope"),
            ],
            outputs=[node.outputs[0]],
            params={
                "kernel": [kernel_h, kernel_w],
                "strides": strides,
                "dilations": dilations,
                "pads": attr(node, "pads")[:2],
                "group": group,
                "activation": attr(node, "activation"),
                "alpha": attr(node, "alpha"),
                "beta": attr(node, "beta"),
                "panel": panels.panel,
                "granule": panels.granule,
                "block": block,
            },
            scratch_bytes=block * k * 4,
        )

    def macs(self, node: ir.Node) -> int:
        """Input elements times the filter's outputs (borders that fall outside included)."""
        x = node.inputs[0]
        return math.prod(shape(x) if x is not None else ()) * math.prod(weight_of(node).shape[1:])


def transpose_attributes(
    node: ir.Node, size: tuple[int, ...], kernel: tuple[int, ...], spatial: int
) -> dict[str, Any]:
    """strides, dilations, output_padding, group and pads of an ONNX transposed convolution over an image of
    `size` (height, width) or a volume (depth, height, width) with a filter of size `kernel`.
    """
    attributes: dict[str, Any] = {
        "strides": spatial_values(node, "strides", 1, spatial),
        "dilations": spatial_values(node, "dilations", 1, spatial),
        "output_padding": spatial_values(node, "output_padding", 0, spatial),
        "group": int(attr(node, "group", 1)),
    }
    pads, beyond = _pads(node, size, kernel, attributes, spatial)
    extra = [more + rest for more, rest in zip(attributes["output_padding"], beyond, strict=True)]
    return {**attributes, "output_padding": extra, "pads": pads}


def _taps(kernel: int, stride: int, dilation: int, residue: int) -> list[int]:
    """Taps whose offset leaves `residue` modulo the stride, descending: the input is walked upwards."""
    return [tap for tap in reversed(range(kernel)) if tap * dilation % stride == residue]


def _size(node: ir.Node, extent: int, axis: int) -> int:
    pads, stride = attr(node, "pads"), attr(node, "strides")[axis]
    extra = attr(node, "output_padding")[axis]
    reach = (weight_of(node).shape[2 + axis] - 1) * attr(node, "dilations")[axis] + 1
    size = int((extent - 1) * stride - pads[axis] - pads[axis + 2] + reach + extra)
    if stride < 1 or extra < 0 or min(pads) < 0 or size < 1:
        raise GraphError(
            f"{where(node)}: pads={pads}, output_padding={extra} give size {size} along axis {axis}"
        )
    return size


def _pads(
    node: ir.Node, size: tuple[int, ...], kernel: tuple[int, ...], attributes: dict[str, Any], spatial: int
) -> tuple[list[int], list[int]]:
    """[top, left, bottom, right] from pads, or from output_shape or auto_pad SAME_* as ONNX says, and by how
    much the output is longer at its ends than what the input reaches: pads would be negative there."""
    strides, dilations, extra = attributes["strides"], attributes["dilations"], attributes["output_padding"]
    mode = attr(node, "auto_pad") or "NOTSET"
    wanted = [int(item) for item in attr(node, "output_shape") or []]
    if not wanted and not mode.startswith("SAME"):
        return explicit_pads(node, size, kernel, strides, dilations, spatial), [0] * len(size)
    if wanted and spatial == 1:
        wanted = [1, *wanted[-1:]]
    goal = wanted[-len(size) :] or [extent * step for extent, step in zip(size, strides, strict=True)]
    axes = zip(size, strides, extra, kernel, dilations, goal, strict=True)
    total = [
        step * (extent - 1) + more + (taps - 1) * dilation + 1 - out
        for extent, step, more, taps, dilation, out in axes
    ]
    beyond = [max(-item, 0) for item in total]
    total = [max(item, 0) for item in total]
    small = [item // 2 for item in total]
    large = [item - half for item, half in zip(total, small, strict=True)]
    return [*small, *large] if mode == "SAME_UPPER" else [*large, *small], beyond
