"""Operators that slide windows over images: convolutions and pools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tflite

from tiercast.errors import ModelError
from tiercast.frontend.tflite_ops.builder import Value
from tiercast.frontend.tflite_ops.file import Operator
from tiercast.frontend.tflite_ops.scope import CHANNELS_FIRST, Perm, Scope
from tiercast.frontend.tflite_ops.table import activation, enum_name, options, translates
from tiercast.ir.rounding import AWAY, ROUNDING, UP


def same_pads(extent: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Padding before and after an axis such that ceil(extent / stride) windows fit, the odd one after."""
    total = max((-(-extent // stride) - 1) * stride + (kernel - 1) * dilation + 1 - extent, 0)
    return total // 2, total - total // 2


def window_pads(
    padding: int,
    image: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[int]:
    """ONNX's [top, left, bottom, right] of TFLite's padding SAME or VALID."""
    if enum_name(tflite.Padding, padding) == "VALID":
        return [0, 0, 0, 0]
    axes = zip(image, kernel, strides, dilations, strict=True)
    (top, bottom), (left, right) = (same_pads(*axis) for axis in axes)
    return [top, left, bottom, right]


def image_of(scope: Scope, index: int) -> tuple[Value, tuple[int, int]]:
    """The real value in ONNX's order N,C,H,W, and (H, W); ModelError when it is no image."""
    size = image_size(scope, index)
    return scope.real(index, CHANNELS_FIRST), size


def image_size(scope: Scope, index: int) -> tuple[int, int]:
    """(H, W); ModelError when it is no image."""
    dims = scope.shape(index)
    if len(dims) != 4:
        raise ModelError(f"tensor {scope.tensor(index).name!r} of shape {dims} is no N,H,W,C image")
    return dims[1], dims[2]


def weight_of(scope: Scope, index: int, perm: Perm) -> Value:
    """A constant weight in `perm`; ModelError when it has another rank."""
    if len(scope.shape(index)) != len(perm):
        raise ModelError(f"weight {scope.tensor(index).name!r} has shape {scope.shape(index)}")
    return scope.real(index, perm)


@translates("CONV_2D", inputs=2)
def conv_2d(scope: Scope, op: Operator) -> None:
    """Weights O,H,W,I; grouped, where the image has more channels than a filter."""
    chosen = options(op, "Conv2DOptions")
    weight = weight_of(scope, op.inputs[1], (0, 3, 1, 2))
    image_size(scope, op.inputs[0])
    channels, per_group = scope.shape(op.inputs[0])[-1], weight.shape[1]
    if per_group < 1 or channels % per_group:
        raise ModelError(f"{channels} channels do not divide into groups of {per_group}")
    convolve(scope, op, weight, channels // per_group, chosen)


@translates("DEPTHWISE_CONV_2D", inputs=2)
def depthwise_conv_2d(scope: Scope, op: Operator) -> None:
    """Weights 1,H,W,C*multiplier: channel c makes outputs c*multiplier..., as ONNX's groups do."""
    chosen = options(op, "DepthwiseConv2DOptions")
    weight = weight_of(scope, op.inputs[1], (3, 0, 1, 2))
    image_size(scope, op.inputs[0])
    channels = scope.shape(op.inputs[0])[-1]
    if channels < 1 or weight.shape[0] % channels or weight.shape[1] != 1:
        raise ModelError(f"weights of shape {scope.shape(op.inputs[1])} do not fit {channels} channels")
    convolve(scope, op, weight, channels, chosen)


def convolve(scope: Scope, op: Operator, weight: Value, groups: int, chosen: Mapping[str, Any]) -> None:
    """The Conv of CONV_2D and DEPTHWISE_CONV_2D."""
    image, size = image_of(scope, op.inputs[0])
    strides = positive(chosen, "StrideH", "StrideW")
    dilations = positive(chosen, "DilationHFactor", "DilationWFactor")
    kernel = list(weight.shape[2:])
    made = scope.builder.emit(
        "Conv",
        [image, weight, *bias_of(scope, op, 2)],
        strides=strides,
        dilations=dilations,
        kernel_shape=kernel,
        group=groups,
        pads=chosen.get("Pads") or window_pads(chosen["Padding"], size, kernel, strides, dilations),
    )
    scope.put(op.outputs[0], made, CHANNELS_FIRST, activation(chosen))


@translates("TRANSPOSE_CONV", inputs=3)
def transpose_conv(scope: Scope, op: Operator) -> None:
    """Weights O,H,W,I; the output's size is an operand."""
    chosen = options(op, "TransposeConvOptions")
    transposed(scope, op, op.inputs[2], op.inputs[1], bias_of(scope, op, 3), chosen, op.inputs[0])


def transposed(
    scope: Scope,
    op: Operator,
    x: int,
    weight_index: int,
    bias: Sequence[Value],
    chosen: Mapping[str, Any],
    size_index: int | None,
) -> None:
    """ConvTranspose whose result has the given size, or the one that follows from the padding."""
    weight = weight_of(scope, weight_index, (3, 0, 1, 2))
    image, size = image_of(scope, x)
    strides = positive(chosen, "StrideH", "StrideW")
    kernel = list(weight.shape[2:])
    same = enum_name(tflite.Padding, chosen["Padding"]) == "SAME"
    sizes = [
        extent * stride if same else (extent - 1) * stride + taps
        for extent, stride, taps in zip(size, strides, kernel, strict=True)
    ]
    full = [(extent - 1) * stride + taps for extent, stride, taps in zip(size, strides, kernel, strict=True)]
    if size_index is not None:
        stated = scope.array(size_index)
        # With another batch or image than the file's, the constant is stale; the padding says the size.
        if stated is not None and stated.size == 4 and _fits(stated, sizes, strides):
            sizes = [int(item) for item in stated[1:3]]
    extra = [max(out - whole, 0) for out, whole in zip(sizes, full, strict=True)]
    # TFLite pads as the convolution from `sizes` to `size` would; what is then still too long is cut behind.
    before = [
        max((extent - 1) * stride + taps - out, 0) // 2 if same else 0
        for extent, stride, taps, out in zip(size, strides, kernel, sizes, strict=True)
    ]
    after = [max(whole - out, 0) - pad for whole, out, pad in zip(full, sizes, before, strict=True)]
    made = scope.builder.emit(
        "ConvTranspose",
        [image, weight, *bias],
        strides=strides,
        kernel_shape=kernel,
        pads=[*before, *after],
        output_padding=extra,
    )
    chosen_activation = activation(chosen) if "FusedActivationFunction" in chosen else "NONE"
    scope.put(op.outputs[0], made, CHANNELS_FIRST, chosen_activation)


@translates("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D")
def pool_2d(scope: Scope, op: Operator) -> None:
    """Padding never counts; L2 is the root of the mean of squares."""
    chosen = options(op, "Pool2DOptions")
    image, size = image_of(scope, op.inputs[0])
    kernel, strides = positive(chosen, "FilterHeight", "FilterWidth"), positive(chosen, "StrideH", "StrideW")
    pads = window_pads(chosen["Padding"], size, kernel, strides, (1, 1))
    attributes = {"kernel_shape": kernel, "strides": strides, "pads": pads}
    emit = scope.builder.emit
    if op.kind == "MAX_POOL_2D":
        made = emit("MaxPool", [image], **attributes)
    elif op.kind == "AVERAGE_POOL_2D":
        made = emit("AveragePool", [image], **attributes)
        _mark_rounding(scope, op, made)
    else:
        made = emit("Sqrt", [emit("AveragePool", [emit("Mul", [image, image])], **attributes)])
    scope.put(op.outputs[0], made, CHANNELS_FIRST, activation(chosen))


def _mark_rounding(scope: Scope, op: Operator, made: Value) -> None:
    """LiteRT averages the stored integers themselves: int8 halves go away from zero, uint8 ones up."""
    x, out = op.inputs[0], op.outputs[0]
    how = {"INT8": AWAY, "UINT8": UP}.get(scope.tensor(x).kind)
    if how is not None and scope.quantized(x) is not None and scope.same_scale(x, out):
        scope.builder.mark(made, ROUNDING, how)


def bias_of(scope: Scope, op: Operator, at: int) -> list[Value]:
    """[the bias], or [] where the operator has none."""
    index = scope.given(op, at)
    return [] if index is None else [scope.real(index)]


def positive(chosen: Mapping[str, Any], *names: str) -> list[int]:
    """Options that must be at least 1."""
    found = [int(chosen[name]) for name in names]
    if min(found) < 1:
        raise ModelError(f"{', '.join(names)} are {found}; they must be at least 1")
    return found


def _fits(stated: np.ndarray, sizes: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether a stated size is one that this image can make: strides leave it open by less than one step."""
    return all(
        abs(int(have) - want) < step for have, want, step in zip(stated[1:3], sizes, strides, strict=True)
    )
