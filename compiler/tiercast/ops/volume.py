"""Convolutions of volumes [N,C,D,H,W] as those of images: the taps along the depth become channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.convolution import (
    add_computed_bias,
    bias_operands,
    constant_weight,
    explicit_pads,
    spatial_values,
    weight_name,
)
from tiercast.ops.copy import emit_copy
from tiercast.ops.depthwise_conv2d import MAX_KERNEL_ROWS
from tiercast.ops.layouter import Layouter, Perm
from tiercast.ops.registry import attr, const, dense_strides, shape, where

VOLUME_LAST: Perm = (0, 2, 3, 4, 1)  # N,C,D,H,W -> N,D,H,W,C


@dataclass(frozen=True)
class _Depth:
    """The taps of a filter along the depth of a padded volume, and the places it stands at."""

    taps: int
    stride: int
    dilation: int
    places: int


def is_volume(node: ir.Node, layout: Layouter) -> bool:
    """Whether an ONNX convolution is one of a volume; GraphError for more than three spatial axes."""
    x = node.inputs[0]
    assert x is not None
    rank = len(layout.shape(x))
    if rank > 5:
        rule = f"{layout.shape(x)} has {rank - 2} spatial axes; one to three are convolved"
        raise GraphError(f"{where(node)}: {rule}")
    return rank == 5


def convolve_volume(node: ir.Node, layout: Layouter) -> None:
    """ONNX Conv in 3-D: one Conv2d of images whose channels are those of all slices that a tap meets, or,
    where each channel is a group, a DepthwiseConv2d for each tap and their sum.
    """
    x = node.inputs[0]
    assert x is not None
    weight, group = constant_weight(node, layout), int(attr(node, "group", 1))
    strides, dilations = (spatial_values(node, name, 1, 3) for name in ("strides", "dilations"))
    pads = explicit_pads(node, layout.shape(x)[2:], weight.shape[2:], strides, dilations, 3)
    volume = layout.as_perm(x, VOLUME_LAST)
    if pads[0] or pads[3]:
        around = [0, pads[0], 0, 0, 0, 0, pads[3], 0, 0, 0]
        volume = layout.emit("Pad", [volume], {"pads": around})[0]
    taps, room = weight.shape[2], shape(volume)[1] - (weight.shape[2] - 1) * dilations[0] - 1
    if room < 0:
        rule = f"a filter of {taps} taps, {dilations[0]} apart, exceeds the padded depth {shape(volume)[1]}"
        raise GraphError(f"{where(node)}: {rule}")
    depth = _Depth(taps, strides[0], dilations[0], room // strides[0] + 1)
    bias, computed_bias = bias_operands(node, layout)
    attributes = {"strides": strides[1:], "dilations": dilations[1:], "pads": [*pads[1:3], *pads[4:6]]}
    single = weight.shape[1] == 1 and weight.shape[0] == group > 1 and weight.shape[3] <= MAX_KERNEL_ROWS
    if single:
        made = _sum_of_taps(node, layout, volume, weight, bias, depth, attributes)
    else:
        image = _gather_taps(layout, volume, group, depth)
        flat = weight.transpose(0, 2, 1, 3, 4).reshape(len(weight), -1, *weight.shape[3:])
        operands = [image, layout.constant(np.ascontiguousarray(flat), weight_name(node)), bias]
        made = layout.emit("Conv2d", operands, {**attributes, "group": group})[0]
    _bind_volume(node, layout, add_computed_bias(layout, made, computed_bias))


def _gather_taps(layout: Layouter, volume: ir.Value, group: int, depth: _Depth) -> ir.Value:
    """[N,D,H,W,C] -> [N * places,H,W,C * taps]: of each group the channels of every tap, tap by tap."""
    batch, _, height, width, channels = shape(volume)
    each, steps = channels // group, dense_strides(shape(volume))
    dims = (batch * depth.places, height, width, channels * depth.taps)
    if depth.taps == depth.stride == 1:
        return layout.alias(volume, dims)
    axes = [
        (batch, steps[0]),
        (depth.places, depth.stride * steps[1]),
        (height, steps[2]),
        (width, steps[3]),
        (group, each),
        (depth.taps, depth.dilation * steps[1]),
        (each, 1),
    ]
    return emit_copy(layout, volume, axes, dims)


def _sum_of_taps(
    node: ir.Node,
    layout: Layouter,
    volume: ir.Value,
    weight: np.ndarray,
    bias: ir.Value | None,
    depth: _Depth,
    attributes: dict[str, list[int]],
) -> ir.Value:
    batch, _, *plane = shape(volume)
    steps = dense_strides(shape(volume))
    total: ir.Value | None = None
    for tap in range(depth.taps):
        axes = [(batch, steps[0]), (depth.places, depth.stride * steps[1])]
        axes += zip(plane, steps[2:], strict=True)
        dims = (batch * depth.places, *plane)
        image = emit_copy(layout, volume, axes, dims, tap * depth.dilation * steps[1])
        own = layout.constant(np.ascontiguousarray(weight[:, :, tap]), weight_name(node))
        made = layout.emit("DepthwiseConv2d", [image, own, None if tap else bias], attributes)[0]
        program = {"program": ["add i0 i1"]}
        total = made if total is None else layout.emit("Pointwise", [total, made], program)[0]
    assert total is not None
    return total


def transpose_volume(node: ir.Node, layout: Layouter, attributes: dict[str, Any]) -> None:
    """ONNX ConvTranspose in 3-D: a ConvTranspose2d of every slice, with channels for each tap along the
    depth, which are then put where they belong.

    attributes: strides, dilations and output_padding of three axes, pads of six sides, group.
    """
    x = node.inputs[0]
    assert x is not None
    weight, group = constant_weight(node, layout), int(attributes["group"])
    volume, pads = layout.as_perm(x, VOLUME_LAST), attributes["pads"]
    batch, slices, *plane = shape(volume)
    image = layout.alias(volume, (batch * slices, *plane))
    across = {name: attributes[name][1:] for name in ("strides", "dilations", "output_padding")}
    across |= {"pads": [*pads[1:3], *pads[4:6]], "group": group}
    bias, computed_bias = bias_operands(node, layout)
    taps = weight.shape[2]
    apart = attributes["dilations"][0] == 1 and attributes["strides"][0] == taps
    around = (pads[0], pads[3], attributes["output_padding"][0])
    arguments = (node, layout, image, weight, bias, across)
    if apart and not any(around):
        made = _side_by_side(*arguments)
    else:
        made = _overlapping(*arguments, batch, attributes)
    _bind_volume(node, layout, add_computed_bias(layout, made, computed_bias))


def _side_by_side(
    node: ir.Node,
    layout: Layouter,
    image: ir.Value,
    weight: np.ndarray,
    bias: ir.Value | None,
    across: dict[str, Any],
) -> ir.Value:
    """Each slice becomes as many as there are taps: [N * D,H,W,C] -> [N * D * taps,OH,OW,OC]."""
    rows, columns, taps = weight.shape[:3]
    group = across["group"]
    flat = weight.swapaxes(1, 2).reshape(rows, taps * columns, *weight.shape[3:])
    numbers = const(bias)
    if numbers is not None:
        spread = np.repeat(numbers.reshape(group, 1, columns), taps, 1).reshape(-1)
        bias = layout.constant(np.ascontiguousarray(spread), "bias")
    operands = [image, layout.constant(np.ascontiguousarray(flat), weight_name(node)), bias]
    made = layout.emit("ConvTranspose2d", operands, across)[0]
    slices, height, width, _ = shape(made)
    steps = dense_strides(shape(made))
    axes = [
        (slices, steps[0]),
        (taps, columns),
        (height, steps[1]),
        (width, steps[2]),
        (group, taps * columns),
        (columns, 1),
    ]
    return emit_copy(layout, made, axes, (slices * taps, height, width, group * columns))


def _overlapping(
    node: ir.Node,
    layout: Layouter,
    image: ir.Value,
    weight: np.ndarray,
    bias: ir.Value | None,
    across: dict[str, Any],
    batch: int,
    attributes: dict[str, Any],
) -> ir.Value:
    """Taps of several slices meet: another ConvTranspose2d sums them. Each channel of the result is a group
    of it, whose taps' channels ones put one after the other. [N * D,H,W,C] -> [N,OD,OH * OW,OC].
    """
    taps, channels, pads = weight.shape[2], weight.shape[1] * across["group"], attributes["pads"]
    flat = weight.reshape(len(weight), weight.shape[1] * taps, *weight.shape[3:])
    weight_value = layout.constant(np.ascontiguousarray(flat), weight_name(node))
    made = layout.emit("ConvTranspose2d", [image, weight_value, None], across)[0]
    slices, height, width, _ = shape(made)
    made = layout.alias(made, (batch, slices // batch, height * width, channels * taps))
    ones = np.tile(np.eye(taps, dtype=np.float32), (channels, 1)).reshape(channels * taps, 1, taps, 1)
    down = {
        "strides": [attributes["strides"][0], 1],
        "dilations": [attributes["dilations"][0], 1],
        "output_padding": [attributes["output_padding"][0], 0],
        "pads": [pads[0], 0, pads[3], 0],
        "group": channels,
    }
    return layout.emit("ConvTranspose2d", [made, layout.constant(ones, "taps"), bias], down)[0]


def _bind_volume(node: ir.Node, layout: Layouter, made: ir.Value) -> None:
    dims = layout.shape(node.outputs[0])
    layout.bind(node.outputs[0], layout.alias(made, [dims[axis] for axis in VOLUME_LAST]), VOLUME_LAST)
