"""QuantizedDepthwiseConv2d: one s8 filter per channel over s8 images."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.lowering import Lowering
from tiercast.ops.quantized import (
    LOW,
    REQUANTIZATION,
    check_image,
    check_zero,
    column_vectors,
    integer_weight,
    limits,
    result_type,
)
from tiercast.ops.quantized_conv2d import output_size
from tiercast.ops.registry import Op, attr, shape, where

LANES = 16  # channels of a block of weights: QDW_LANES of the kernels


class QuantizedDepthwiseConv2d(Op):
    """Like QuantizedConv2d, with weight constant s8 [C,1,KH,KW]: every channel has one filter of its own.

    x s8 [N,H,W,C]; bias constant s32 [C]; scale constant f32 [C]. Output [N,OH,OW,C] of `to`: s8 f32 s32.
    QuantizedConv2d legalises convolutions of this form.
    """

    inputs = ("x", "weight", "bias", "scale")
    attributes: ClassVar = {
        "strides": [1, 1],
        "pads": [0, 0, 0, 0],
        "dilations": [1, 1],
        **REQUANTIZATION,
    }
    strided_inputs = True
    strided_outputs = True

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """[N,OH,OW,C] of `to`; GraphError when the weight does not have one filter per channel."""
        x, weight = check_image(node), integer_weight(node)
        batch, height, width, channels = shape(x)
        if weight.shape[:2] != (channels, 1):
            raise GraphError(f"{where(node)}: weight {weight.shape} must be [{channels}, 1, KH, KW]")
        sizes = output_size(node, height, 0), output_size(node, width, 1)
        return [(result_type(node), (batch, *sizes, channels))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One call; the weight becomes blocks of 16 channels, rows of the filter in quads."""
        weight, x_zero = integer_weight(node), check_zero(node, int(attr(node, "x_zero")))
        channels, _, kernel_h, kernel_w = weight.shape
        blocks, quads = -(-channels // LANES), -(-kernel_h // 4)
        packed = np.zeros((blocks * LANES, quads * 4, kernel_w), np.int8)
        packed[:channels, :kernel_h] = weight[:, 0]
        packed = packed.reshape(blocks, LANES, quads, 4, kernel_w).transpose(0, 4, 2, 1, 3)
        bias, scale = column_vectors(node, weight.astype(np.int64).sum((1, 2, 3)), x_zero)
        tail = (0, blocks * LANES - channels)
        span = (
            (shape(node.outputs[0])[2] - 1) * attr(node, "strides")[1]
            + (kernel_w - 1) * attr(node, "dilations")[1]
            + 1
        )
        low.call(
            node,
            low.choose("quantized_depthwise_conv2d_s8s8"),
            inputs=[
                node.inputs[0],
                low.const(np.ascontiguousarray(packed).reshape(-1), "weight"),
                low.const(np.pad(bias, ((0, 0), tail)).reshape(-1), "bias"),
                low.const(np.pad(scale, tail), "scale", exact=True),
            ],
            outputs=[node.outputs[0]],
            params={
                "kernel": [kernel_h, kernel_w],
                "strides": attr(node, "strides"),
                "dilations": attr(node, "dilations"),
                "pads": attr(node, "pads")[:2],
                "x_zero": x_zero,
                **limits(node),
                "small": int(weight.min(initial=0) > LOW),
            },
            scratch_bytes=(span + 4 * attr(node, "strides")[1] + 4 + 4 * kernel_w) * quads * 256,
        )

    def macs(self, node: ir.Node) -> int:
        """Output elements times taps."""
        return math.prod(shape(node.outputs[0])) * math.prod(integer_weight(node).shape[2:])
