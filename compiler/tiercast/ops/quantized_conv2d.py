"""QuantizedConv2d: 2-D convolution of s8 images, summed in s32 and requantized in f32; products with a
constant matrix are such."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.conv2d import is_depthwise, repeat_channels
from tiercast.ops.convolution import bind_image, explicit_pads, image_input, spatial_values, weight_name
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering, View
from tiercast.ops.panels import Panels
from tiercast.ops.quantized import (
    LOW,
    REQUANTIZATION,
    check_image,
    check_zero,
    column_vectors,
    integer_weight,
    limits,
    quads,
    quantization_attributes,
    result_type,
)
from tiercast.ops.registry import Op, attr, shape, where

BLOCK_BYTES = 32768  # gathered pixels of a block stay in the second-level cache
BLOCK_PIXELS = (20, 192)  # QCONV_LEAST_BLOCK of the kernels
SLACK_BYTES = 64  # QCONV_SLACK of the kernels
# Of rows that copy lines of the input instead of taps (kernels/quantized_conv2d/lines.h); they stay in that
# cache.
_LINE_BYTES, _FLAT_BYTES, _LINE_SLACK_BYTES, _REPACKED_BYTES = 98304, 24576, 128, 16384
_LINES = ("avx512vnni", "avx2")
_NARROW = ("avx512vnni",)  # fill vectors with several quads where there are few columns
# Widest panel, and the fewest columns that a panel has, by instruction set: all rows read all of them.
_PANELS = {"avx512vnni": (64, 16), "avx2": (8, 8), "neoni8mm": (8, 4), "neondot": (8, 4), "neon": (8, 4)}


class QuantizedConv2d(Op):
    """y = requantized(sum of weight * (x - x_zero) + bias), in s8, or the sums as f32 (times scale) or s32.

    x s8 [N,H,W,C]; weight constant s8 [OC,C/group,KH,KW]; bias constant s32 [OC]; scale constant f32 [OC],
    that of x times that of the weight (over that of y, for s8). y = round(sum * scale) + y_zero, halves to
    even, within low..high. pads = top, left, bottom, right, of x_zero. to: s8 f32 s32.
    Output [N,OH,OW,OC], OH as for Conv2d.
    """

    onnx = ("QuantizedConv", "QuantizedGemm")
    inputs = ("x", "weight", "bias", "scale")
    attributes: ClassVar = {
        "strides": [1, 1],
        "pads": [0, 0, 0, 0],
        "dilations": [1, 1],
        "group": 1,
        **REQUANTIZATION,
    }
    strided_inputs = True
    strided_outputs = True

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """A convolution, depthwise ones as QuantizedDepthwiseConv2d; a product of matrices is one of 1x1."""
        if node.op_type == "QuantizedGemm":
            _legalize_matmul(node, layout)
            return
        image, spatial = image_input(node, layout)
        weight = layout.const(node.inputs[1])
        assert weight is not None  # quantize_operators makes no other
        wide = weight if weight.ndim == 4 else weight[:, :, None, :]
        strides, dilations = (spatial_values(node, name, 1, spatial) for name in ("strides", "dilations"))
        group = int(attr(node, "group", 1))
        pads = explicit_pads(node, shape(image)[1:3], wide.shape[2:], strides, dilations, spatial)
        attributes = {
            "strides": strides,
            "pads": pads,
            "dilations": dilations,
            **quantization_attributes(node),
        }
        depthwise = is_depthwise(wide, group)
        if depthwise:
            image = repeat_channels(layout, image, wide.shape[0] // group)
        else:
            attributes["group"] = group
        rest = [layout.plain(value) for value in node.inputs[2:] if value is not None]
        operands = [image, layout.constant(np.ascontiguousarray(wide), weight_name(node)), *rest]
        op_type = "QuantizedDepthwiseConv2d" if depthwise else "QuantizedConv2d"
        bind_image(node, layout, layout.emit(op_type, operands, attributes)[0], spatial)

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """[N,OH,OW,OC] of `to`; GraphError when channels, groups or the kernel do not fit."""
        x, weight, group = check_image(node), integer_weight(node), int(attr(node, "group"))
        batch, height, width, channels = shape(x)
        if group < 1 or channels != weight.shape[1] * group or weight.shape[0] % group:
            raise GraphError(
                f"{where(node)}: {channels} channels, weight {weight.shape}: group={group} does not fit"
            )
        sizes = output_size(node, height, 0), output_size(node, width, 1)
        return [(result_type(node), (batch, *sizes, weight.shape[0]))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One call."""
        x = node.inputs[0]
        assert x is not None
        pads = attr(node, "pads")[:2]
        lower_window(
            node,
            low,
            integer_weight(node),
            node.outputs[0],
            attr(node, "strides"),
            attr(node, "dilations"),
            pads,
        )

    def macs(self, node: ir.Node) -> int:
        """Output pixels times taps, channels of a group and sums."""
        batch, height, width, _ = shape(node.outputs[0])
        return batch * height * width * integer_weight(node).size


def output_size(node: ir.Node, extent: int, axis: int) -> int:
    """Output size of a quantized convolution along `axis` (0 height, 1 width); GraphError when nothing
    is left.
    """
    pads, kernel = attr(node, "pads"), integer_weight(node).shape[2 + axis]
    stride, dilation = attr(node, "strides")[axis], attr(node, "dilations")[axis]
    room = extent + pads[axis] + pads[axis + 2] - (kernel - 1) * dilation - 1
    if stride < 1 or dilation < 1 or min(pads) < 0 or room < 0:
        raise GraphError(
            f"{where(node)}: kernel {kernel}, stride {stride}, dilation {dilation} and pads {pads} do "
            f"not fit "
            f"{extent} pixels (axis {axis})"
        )
    return int(room // stride) + 1


def lower_window(
    node: ir.Node,
    low: Lowering,
    weight: np.ndarray,
    out: ir.Value | View,
    strides: list[int],
    dilations: list[int],
    pads: list[int],
) -> None:
    """Emits one `quantized_conv2d` call for `weight` (s8 [OC,C/group,KH,KW]) that writes `out`.

    pads: top and left, negative ones crop. Zero points, limits, bias and scale are the node's.
    """
    row = low.choose("quantized_conv2d_s8s8")
    group, x_zero = int(attr(node, "group")), check_zero(node, int(attr(node, "x_zero")))
    columns, in_channels, kernel_h, kernel_w = weight.shape[0] // group, *weight.shape[1:]
    panels = panels_of(row.isa, columns)
    matrix = weight.reshape(group, columns, in_channels, kernel_h, kernel_w).transpose(0, 3, 4, 2, 1)
    matrix = matrix.reshape(group, -1, columns)
    # Each element of a panel is the four bytes of a quad.
    packed = panels.pack(quads(matrix).view(np.int32)[..., 0]).view(np.int8)
    sums = matrix.astype(np.int64).sum(1)
    bias, scale = column_vectors(node, sums.reshape(-1), x_zero)
    block = max(BLOCK_PIXELS[0], min(BLOCK_PIXELS[1], BLOCK_BYTES // matrix.shape[1]))
    low.call(
        node,
        row,
        inputs=[
            node.inputs[0],
            low.const(packed, "weight"),
            low.const(panels.pad(bias.reshape(2 * group, columns)), "bias"),
            low.const(
                replace(panels, dtype=np.float32).pad(scale.reshape(group, columns)), "scale", exact=True
            ),
        ],
        outputs=[out],
        params={
            "kernel": [kernel_h, kernel_w],
            "strides": strides,
            "dilations": dilations,
            "pads": pads,
            "group": group,
            "x_zero": x_zero,
            **limits(node),
            "panel": panels.panel,
            "granule": panels.granule,
            "block": block,
            "small": int(matrix.min(initial=0) > LOW),
        },
        scratch_bytes=max(
            block * (-(-matrix.shape[1] // 16) * 16) + SLACK_BYTES,
            _line_bytes(kernel_h * kernel_w) if row.isa in _LINES else 0,
        ),
    )


def _line_bytes(taps: int) -> int:
    return _LINE_SLACK_BYTES + (_FLAT_BYTES if taps == 1 else _LINE_BYTES + _REPACKED_BYTES)


def panels_of(isa: str, columns: int) -> Panels:
    """The panels of quads that a row of the instruction set is fastest on, of so many columns."""
    panel, granule = _PANELS.get(isa, (16, 4))
    if isa in _NARROW and columns <= granule // 2:
        granule = 1 << (columns - 1).bit_length()
    return Panels(panel, granule, np.int32)


def _legalize_matmul(node: ir.Node, layout: Layouter) -> None:
    """x [..., K] times a constant [K, N]: rows are pixels of one image row."""
    x, weight = node.inputs[0], layout.const(node.inputs[1])
    assert x is not None and weight is not None
    *outer, inner = layout.shape(x)
    image = layout.alias(layout.plain(x), (1, 1, math.prod(outer), inner))
    kernel = np.ascontiguousarray(weight.T)[:, :, None, None]
    operands = [image, layout.constant(kernel, weight_name(node))]
    operands += [layout.plain(value) for value in node.inputs[2:] if value is not None]
    made = layout.emit("QuantizedConv2d", operands, quantization_attributes(node))[0]
    layout.bind(node.outputs[0], layout.alias(made, layout.shape(node.outputs[0])))
