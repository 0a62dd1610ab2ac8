"""GridSample: an image sampled at given positions."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.layouter import CHANNELS_LAST, Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.registry import Op, attr, dtype, shape, where

_MODES = {"bilinear": "linear", "bicubic": "cubic"}


class GridSample(Op):
    """y[N,OH,OW,C] = x[N,H,W,C] at grid[N,OH,OW,2] (x then y in [-1, 1]), f32.

    mode: nearest linear cubic. padding: zeros border reflection.
    """

    onnx = ("GridSample",)
    inputs = ("x", "grid")
    attributes: ClassVar = {"mode": "linear", "padding": "zeros", "align_corners": 0}
    strided_outputs = True

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """Images in NHWC; volumes are refused."""
        x, grid = node.inputs
        assert x is not None and grid is not None
        mode = attr(node, "mode", "linear")
        attributes = {
            "mode": _MODES.get(mode, mode),
            "padding": attr(node, "padding_mode", "zeros"),
            "align_corners": int(attr(node, "align_corners", 0)),
        }
        operands = [layout.channels_last(x), layout.plain(grid)]
        layout.bind(node.outputs[0], layout.emit("GridSample", operands, attributes)[0], CHANNELS_LAST)

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """[N, OH, OW, C]."""
        x, grid = node.inputs
        assert x is not None and grid is not None
        if (
            len(shape(x)) != 4
            or len(shape(grid)) != 4
            or shape(grid)[3] != 2
            or dtype(x) != ir.DataType.FLOAT
        ):
            raise GraphError(
                f"{where(node)}: needs f32 x[N,H,W,C] and grid[N,OH,OW,2], got {shape(x)} and {shape(grid)}"
            )
        return [(dtype(x), (shape(x)[0], *shape(grid)[1:3], shape(x)[3]))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One `grid_sample` call."""
        params = {name: attr(node, name) for name in ("mode", "padding", "align_corners")}
        low.call(node, low.choose("grid_sample_f32f32"), list(node.inputs), list(node.outputs), params)
