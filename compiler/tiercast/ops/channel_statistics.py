"""ChannelStatistics: what instance and group normalisation needs to know of an image."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.lowering import Lowering
from tiercast.ops.registry import REQUIRED, Op, attr, dtype, shape, where

MOST_BANDS = 16  # enough for even shares of eight threads, few enough to be joined in no time


class ChannelStatistics(Op):
    """Pixels, mean and sum of squared distances from it, per channel of each of `bands` bands of pixels.

    x f32 [N,H,W,C]; output f32 [N,bands,3,C]. Band i has pixels [H*W*i/bands, H*W*(i+1)/bands) of its image.
    """

    inputs = ("x",)
    attributes: ClassVar = {"bands": REQUIRED}
    strided_inputs = True
    strided_outputs = True

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """[N,bands,3,C]; GraphError for what is no image, or fewer pixels than bands."""
        x = node.inputs[0]
        assert x is not None
        dims, bands = shape(x), int(attr(node, "bands"))
        if dtype(x) != ir.DataType.FLOAT or len(dims) != 4 or not 1 <= bands <= dims[1] * dims[2]:
            raise GraphError(f"{where(node)}: x {dtype(x)} {dims} is not f32 N,H,W,C with >= {bands} pixels")
        return [(ir.DataType.FLOAT, (dims[0], bands, 3, dims[3]))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One `channel_statistics` call."""
        low.call(node, low.choose("channel_statistics_f32f32"), list(node.inputs), list(node.outputs), {})
