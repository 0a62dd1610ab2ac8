"""DepthwiseConv2d: one filter per channel over channels-last images, epilogue fused."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.kernel import Row
from tiercast.ops.convolution import channel_vector, residual_of, weight_of, window_size
from tiercast.ops.lowering import Lowering
from tiercast.ops.registry import REALS, Op, attr, dtype, real_row, shape, where

MAX_KERNEL_ROWS = 64
_LANES = {"avx512": 16, "avx2": 8, "neonfp16": 8}


class DepthwiseConv2d(Op):
    """y = activation(depthwise(x, weight) + bias [+ residual]), or activation(...) [+ | *] residual.

    x f32 or f16 [N,H,W,C]; weight constant [C,1,KH,KW], KH <= 64; bias, slope constant [C]; residual like y.
    pads = top, left, bottom, right, all >= 0; pad_mode zero | reflect | replicate.
    Output like x: [N,OH,OW,C].
    Conv2d legalises the ONNX Conv of this form.
    """

    inputs = ("x", "weight", "bias?", "slope?", "residual?")
    half = True
    attributes: ClassVar = {
        "strides": [1, 1],
        "pads": [0, 0, 0, 0],
        "dilations": [1, 1],
        "pad_mode": "zero",
        "activation": "none",
        "alpha": 0.0,
        "beta": 0.0,
        "residual_mode": "none",
    }
    strided_inputs = True
    strided_outputs = True

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """[N,OH,OW,C] of x's type; GraphError when the weight does not have one filter per channel."""
        x = node.inputs[0]
        assert x is not None
        weight = weight_of(node)
        if len(shape(x)) != 4 or dtype(x) not in REALS:
            raise GraphError(f"{where(node)}: x must be f32 or f16 [N,H,W,C], it is {dtype(x)} {shape(x)}")
        batch, height, width, channels = shape(x)
        if weight.shape[:2] != (channels, 1) or weight.shape[2] > MAX_KERNEL_ROWS:
            raise GraphError(
                f"{where(node)}: weight {weight.shape} must be [{channels}, 1, KH <= {MAX_KERNEL_ROWS}, KW]"
            )
        return [(dtype(x), (batch, window_size(node, height, 0), window_size(node, width, 1), channels))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One call; the weight becomes [KH * KW, C]."""
        weight = weight_of(node)
        channels, _, kernel_h, kernel_w = weight.shape
        bias, slope = channel_vector(node, 2, channels, default=0.0), channel_vector(node, 3, channels)
        residual, residual_mode = residual_of(node, 4)
        kind = dtype(node.outputs[0]).numpy()
        taps = np.ascontiguousarray(weight.reshape(channels, -1).T, kind)

        def accept(row: Row) -> str | None:
            lanes = _LANES.get(row.isa, 1)
            return None if channels >= lanes else f"{channels} channels do not fill {lanes} lanes"

        low.call(
            node,
            low.choose(real_row("depthwise_conv2d", node.outputs[0]), accept),
            inputs=[
                node.inputs[0],
                low.weight(taps, "weight"),
                low.const(bias.astype(kind), "bias"),
                None if slope is None else low.const(slope.astype(kind), "slope"),
                residual,
            ],
            outputs=[node.outputs[0]],
            params={
                "kernel": [kernel_h, kernel_w],
                "strides": attr(node, "strides"),
                "dilations": attr(node, "dilations"),
                "pads": attr(node, "pads"),
                "pad_mode": attr(node, "pad_mode"),
                "activation": attr(node, "activation"),
                "alpha": attr(node, "alpha"),
                "beta": attr(node, "beta"),
                "residual_mode": residual_mode,
            },
        )

    def macs(self, node: ir.Node) -> int:
        """Output elements times taps."""
        return math.prod(shape(node.outputs[0])) * math.prod(weight_of(node).shape[2:])
