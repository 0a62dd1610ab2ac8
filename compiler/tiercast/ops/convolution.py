"""What the convolution ops share: ONNX attributes, spatial sizes, constant operands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.layouter import CHANNELS_LAST, Layouter, Perm
from tiercast.ops.registry import attr, const, shape, where

SEQUENCE_LAST: Perm = (0, 2, 1)  # N,C,L -> N,L,C


def constant_weight(node: ir.Node, layout: Layouter) -> np.ndarray:
    """The weight (input 1) of an ONNX convolution as f32 of rank 4 (a 1-D one with height 1) or, in 3-D, 5.

    GraphError when it is computed at run time, or of more axes.
    """
    weight = layout.const(node.inputs[1])
    if weight is None:
        raise GraphError(
            f"{where(node)}: the weight is computed at run time; a convolution needs a constant one"
        )
    if weight.ndim not in (3, 4, 5):
        raise GraphError(
            f"{where(node)}: weight of rank {weight.ndim}; convolutions over one to three axes are supported"
        )
    wide = weight if weight.ndim > 3 else weight[:, :, None, :]
    return np.ascontiguousarray(wide, np.float32)


def weight_name(node: ir.Node) -> str:
    """The name of an ONNX convolution's weight."""
    weight = node.inputs[1]
    return (weight.name if weight is not None else None) or "weight"


def spatial_values(node: ir.Node, name: str, default: int, spatial: int) -> list[int]:
    """An ONNX per-axis attribute as [height, width] or, in 3-D, [depth, height, width]; a 1-D one gets
    `default` for the height."""
    values = [int(item) for item in attr(node, name) or [default] * spatial]
    if len(values) != spatial:
        raise GraphError(f"{where(node)}: {name}={values} must have {spatial} values")
    return values if spatial > 1 else [default, *values]


def explicit_pads(
    node: ir.Node,
    size: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    spatial: int,
) -> list[int]:
    """[top, left, bottom, right] (in 3-D front, top, left, back, bottom, right) from `pads` or `auto_pad`;
    GraphError on a negative pad."""
    mode = attr(node, "auto_pad") or "NOTSET"
    if mode == "VALID":
        return [0] * (2 * len(size))
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        total = [
            max((-(-extent // step) - 1) * step + (taps - 1) * dilation + 1 - extent, 0)
            for extent, taps, step, dilation in zip(size, kernel, strides, dilations, strict=True)
        ]
        small = [item // 2 for item in total]
        large = [item - half for item, half in zip(total, small, strict=True)]
        return [*small, *large] if mode == "SAME_UPPER" else [*large, *small]
    values = [int(item) for item in attr(node, "pads") or [0] * (2 * spatial)]
    if len(values) != 2 * spatial or min(values, default=0) < 0:
        rule = f"must be {2 * spatial} values >= 0; slice the input instead of padding by a negative number"
        raise GraphError(f"{where(node)}: pads={values} {rule}")
    return values if spatial > 1 else [0, values[0], 0, values[1]]


def image_input(node: ir.Node, layout: Layouter) -> tuple[ir.Value, int]:
    """Input 0 as an NHWC image and its number of spatial axes; [N,C,L] becomes an image of height 1."""
    value = node.inputs[0]
    assert value is not None
    dims = layout.shape(value)
    if len(dims) == 4:
        return layout.channels_last(value), 2
    if len(dims) == 3:
        batch, channels, length = dims
        return layout.alias(layout.as_perm(value, SEQUENCE_LAST), (batch, 1, length, channels)), 1
    raise GraphError(
        f"{where(node)}: input of shape {dims}; convolutions over one to three axes are supported"
    )


def bind_image(node: ir.Node, layout: Layouter, image: ir.Value, spatial: int) -> None:
    """Declares that the NHWC `image` holds the node's output."""
    if spatial == 2:
        layout.bind(node.outputs[0], image, CHANNELS_LAST)
        return
    batch, _, length, channels = shape(image)
    layout.bind(node.outputs[0], layout.alias(image, (batch, length, channels)), SEQUENCE_LAST)


def bias_operands(node: ir.Node, layout: Layouter) -> tuple[ir.Value | None, ir.Value | None]:
    """Input 2 as (constant bias, computed bias): one of them, or neither."""
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is None:
        return None, None
    array = layout.const(bias)
    if array is None:
        return None, layout.plain(bias)
    return layout.constant(np.ascontiguousarray(array.reshape(-1), np.float32), f"{bias.name}"), None


def add_computed_bias(layout: Layouter, image: ir.Value, bias: ir.Value | None) -> ir.Value:
    """image + bias over the channels, where the bias is no constant."""
    if bias is None:
        return image
    return layout.emit("Pointwise", [image, bias], {"program": ["add i0 i1"]})[0]


def window_size(node: ir.Node, extent: int, axis: int) -> int:
    """Output size of a physical convolution along `axis` (0 height, 1 width).

    GraphError when the kernel does not fit or the attributes are out of range.
    """
    pads, kernel = attr(node, "pads"), weight_of(node).shape[2 + axis]
    reach = (kernel - 1) * attr(node, "dilations")[axis] + 1
    padded = extent + pads[axis] + pads[axis + 2]
    if min(attr(node, "strides") + attr(node, "dilations")) < 1 or min(pads) < 0:
        raise GraphError(f"{where(node)}: strides and dilations must be >= 1 and pads >= 0")
    if attr(node, "pad_mode") == "reflect" and max(pads[axis], pads[axis + 2]) >= extent:
        raise GraphError(f"{where(node)}: reflect pads {pads} must be below the input's size {extent}")
    if reach > padded:
        raise GraphError(
            f"{where(node)}: kernel of reach {reach} exceeds the padded input {padded} (axis {axis})"
        )
    return int((padded - reach) // attr(node, "strides")[axis] + 1)


def weight_of(node: ir.Node) -> np.ndarray:
    """The constant rank-4 weight of a physical convolution; GraphError otherwise."""
    weight = const(node.inputs[1])
    if weight is None or weight.ndim != 4:
        raise GraphError(f"{where(node)}: the weight must be a constant of rank 4")
    return weight


@overload
def channel_vector(node: ir.Node, index: int, channels: int) -> np.ndarray | None: ...
@overload
def channel_vector(node: ir.Node, index: int, channels: int, default: float) -> np.ndarray: ...
def channel_vector(
    node: ir.Node, index: int, channels: int, default: float | None = None
) -> np.ndarray | None:
    """Constant input `index` (bias or slope) as f32 [channels]; `default` (or None) when it is absent.

    GraphError when it is no constant of 1 or `channels` values.
    """
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        return None if default is None else np.full(channels, default, np.float32)
    array = const(value)
    if array is None or array.size not in (1, channels):
        raise GraphError(f"{where(node)}: input {index} must be a constant of 1 or {channels} values")
    return np.broadcast_to(array.reshape(-1).astype(np.float32), (channels,))


def gate_params(node: ir.Node) -> dict[str, object]:
    """The kernels' params of a Conv2d's gate; GraphError when it has groups, a slope or a residual."""
    gated = bool(attr(node, "gated"))
    if gated and (attr(node, "group") != 1 or any(value is not None for value in node.inputs[3:])):
        raise GraphError(f"{where(node)}: a gated convolution takes one group, no slope and no residual")
    return {
        "gated": int(gated),
        "gate_activation": attr(node, "gate_activation"),
        "gate_alpha": attr(node, "gate_alpha"),
        "gate_beta": attr(node, "gate_beta"),
    }


def residual_of(node: ir.Node, index: int) -> tuple[ir.Value | None, str]:
    """Input `index` and the residual_mode the kernel needs ("none" without the input).

    GraphError when only one of the two is given or the shapes differ.
    """
    mode = attr(node, "residual_mode")
    value = node.inputs[index] if index < len(node.inputs) else None
    if (value is None) != (mode == "none"):
        raise GraphError(f"{where(node)}: residual_mode={mode!r} and the residual input must come together")
    if value is None:
        return None, "none"
    if shape(value) != shape(node.outputs[0]):
        raise GraphError(
            f"{where(node)}: residual of shape {shape(value)}, the output has {shape(node.outputs[0])}"
        )
    # Without an activation, adding before or after it is one thing, and before costs the kernel nothing.
    return value, "add" if mode == "add_after" and attr(node, "activation") == "none" else mode
