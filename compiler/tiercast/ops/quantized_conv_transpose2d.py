"""QuantizedConvTranspose2d: transposed convolution of s8 images, one ordinary convolution for each phase
of the stride."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.conv_transpose2d import transpose_attributes
from tiercast.ops.convolution import bind_image, image_input, weight_name
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering, View
from tiercast.ops.quantized import (
    REQUANTIZATION,
    check_image,
    integer_weight,
    quantization_attributes,
    result_type,
)
from tiercast.ops.quantized_conv2d import lower_window
from tiercast.ops.registry import Op, attr, dense_strides, shape, where


class QuantizedConvTranspose2d(Op):
    """y = requantized(transposed convolution of (x - x_zero) + bias); see QuantizedConv2d for the operands.

    x s8 [N,H,W,C]; weight constant s8 [C,OC,KH,KW]; bias constant s32 [OC]; scale constant f32 [OC].
    pads = top, left, bottom, right, cut off the result. One group, no dilation.
    Output [N,OH,OW,OC] of `to`, OH = (H - 1) * stride - top - bottom + KH + output_padding.
    """

    onnx = ("QuantizedConvTranspose",)
    inputs = ("x", "weight", "bias", "scale")
    attributes: ClassVar = {
        "strides": [1, 1],
        "pads": [0, 0, 0, 0],
        "output_padding": [0, 0],
        "group": 1,
        **REQUANTIZATION,
    }

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """1-D ones have height 1."""
        image, spatial = image_input(node, layout)
        weight = layout.const(node.inputs[1])
        assert weight is not None  # quantize_operators makes no other
        wide = weight if weight.ndim == 4 else weight[:, :, None, :]
        attributes = transpose_attributes(node, shape(image)[1:3], wide.shape[2:], spatial)
        del attributes["dilations"]
        rest = [layout.plain(value) for value in node.inputs[2:] if value is not None]
        operands = [image, layout.constant(np.ascontiguousarray(wide), weight_name(node)), *rest]
        made = layout.emit(
            "QuantizedConvTranspose2d", operands, {**attributes, **quantization_attributes(node)}
        )[0]
        bind_image(node, layout, made, spatial)

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """[N,OH,OW,OC] of `to`; GraphError when channels or sizes do not fit."""
        x, weight = check_image(node), integer_weight(node)
        batch, height, width, channels = shape(x)
        if channels != weight.shape[0] or attr(node, "group") != 1:
            raise GraphError(
                f"{where(node)}: {channels} channels, weight {weight.shape}, "
                f"group={attr(node, 'group')} do not fit"
            )
        return [(result_type(node), (batch, _size(node, height, 0), _size(node, width, 1), weight.shape[1]))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """A call for each phase: it writes every stride-th row and column of the output."""
        weight, out = integer_weight(node), node.outputs[0]
        batch, height, width, channels = shape(out)
        strides, pads = attr(node, "strides"), attr(node, "pads")
        steps = dense_strides(shape(out))
        for ry in range(min(strides[0], height)):
            for rx in range(min(strides[1], width)):
                ys, top = _phase(weight.shape[2], strides[0], pads[0], ry)
                xs, left = _phase(weight.shape[3], strides[1], pads[1], rx)
                dims = (
                    batch,
                    len(range(ry, height, strides[0])),
                    len(range(rx, width, strides[1])),
                    channels,
                )
                window = View(
                    out,
                    dims,
                    (steps[0], steps[1] * strides[0], steps[2] * strides[1], 1),
                    ry * steps[1] + rx * steps[2],
                )
                # A phase without taps is the bias: one tap of zeros.
                taps = weight[:, :, ys][:, :, :, xs] if ys and xs else np.zeros_like(weight[:, :, :1, :1])
                part = np.ascontiguousarray(taps.transpose(1, 0, 2, 3))
                lower_window(node, low, part, window, [1, 1], [1, 1], [top, left])

    def macs(self, node: ir.Node) -> int:
        """Input elements times the filter's outputs (borders that fall outside included)."""
        x = node.inputs[0]
        return math.prod(shape(x) if x is not None else ()) * math.prod(integer_weight(node).shape[1:])


def _phase(kernel: int, stride: int, pad: int, row: int) -> tuple[list[int], int]:
    """Taps that reach output rows row, row + stride..., in the order in which they read rising input
    rows, and how many input rows lie before the first one's (negative: the first is further in).

    Output o gets tap t from input i where o = i * stride + t - pad.
    """
    taps = [tap for tap in reversed(range(kernel)) if (row + pad - tap) % stride == 0]
    return taps, -((row + pad - taps[0]) // stride) if taps else 0


def _size(node: ir.Node, extent: int, axis: int) -> int:
    pads, stride = attr(node, "pads"), attr(node, "strides")[axis]
    extra = attr(node, "output_padding")[axis]
    size = int(
        (extent - 1) * stride - pads[axis] - pads[axis + 2] + integer_weight(node).shape[2 + axis] + extra
    )
    if stride < 1 or extra < 0 or min(pads) < 0 or size < 1:
        raise GraphError(
            f"{where(node)}: pads={pads}, output_padding={extra} give size {size} along axis {axis}"
        )
    return size
