"""GridSample: samples an image at the positions of a grid."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.layouter import CHANNELS_LAST, Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.registry import Op, attr, dtype, shape, where

_MODES = {"linear": "linear", "bilinear": "linear", "nearest": "nearest", "cubic": "cubic", "bicubic": "cubic"}


class GridSample(Op):
    """y[n,oy,ox,:] = x sampled at grid[n,oy,ox] = (x, y), where -1 and 1 are the image's ends (ONNX GridSample).

    x: [N,H,W,C] f32; grid: [N,OH,OW,2] f32, dense. mode: linear nearest cubic; padding: zeros border reflection.
    Output: [N,OH,OW,C].
    """

    onnx = ("GridSample",)
    inputs = ("x", "grid")
    attributes: ClassVar = {"mode": "linear", "padding": "zeros", "align_corners": 0}
    strided_outputs = True

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """The image channels last, the grid in its own order."""
        x, grid = node.inputs[:2]
        assert x is not None and grid is not None
        mode = str(attr(node, "mode", "linear"))
        if mode not in _MODES:
            raise GraphError(f"{where(node)}: mode {mode!r} is none of {', '.join(_MODES)}")
        attributes = {
            "mode": _MODES[mode],
            "padding": str(attr(node, "padding_mode", "zeros")),
            "align_corners": int(attr(node, "align_corners", 0)),
        }
        made = layout.emit("GridSample", [layout.channels_last(x), layout.plain(grid)], attributes)[0]
        layout.bind(node.outputs[0], made, CHANNELS_LAST)

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """[N,OH,OW,C]."""
        x, grid = node.inputs
        assert x is not None and grid is not None
        if {dtype(x), dtype(grid)} != {ir.DataType.FLOAT}:
            raise GraphError(f"{where(node)}: image and grid must be f32, got {dtype(x).name} and {dtype(grid).name}")
        dims, points = shape(x), shape(grid)
        if len(dims) != 4 or len(points) != 4 or points[3] != 2 or points[0] != dims[0]:
            raise GraphError(f"{where(node)}: grid {points} is not N,OH,OW,2 for an image N,H,W,C = {dims}")
        return [(dtype(x), (dims[0], points[1], points[2], dims[3]))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One `grid_sample` call."""
        params = {name: attr(node, name) for name in self.attributes}
        low.call(node, low.choose("grid_sample_f32f32"), list(node.inputs), list(node.outputs), params)
