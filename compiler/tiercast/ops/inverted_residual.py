"""InvertedResidual: 1x1 expand, depthwise filter and 1x1 project in one pass (Sandler et al. 2018)."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.convolution import channel_vector, residual_of
from tiercast.ops.lowering import Lowering, Operand
from tiercast.ops.panels import Panels, panels_for
from tiercast.ops.registry import Op, attr, const, dtype, shape, where

LEAST_HIDDEN = 16  # as in kernels/inverted_residual/inverted_residual.h: a vector of any row
TILE_ROWS = 2  # rows of a depthwise tile
STEP_PIXELS = 64  # output pixels made together, at least: weights are read once for them
PACKED_ROWS = 48  # as there: scratch in which kernels pack pixels or thin panels

_PARTS = ("expand_", "filter_", "")  # what the activation attributes of each part begin with


class InvertedResidual(Op):
    """hidden = act(x * expand_weight + expand_bias), filtered = act(depthwise(hidden, filter) + filter_bias),
    y = act(filtered * weight + bias [+ residual]), or act(...) [+ | *] residual.

    x f32 [N,H,W,C]; expand_weight f32 constant [HIDDEN,C,1,1], without it hidden = x; filter f32 constant
    [HIDDEN,1,K,K], K 3 or 5, HIDDEN >= 16; weight f32 constant [OC,HIDDEN,1,1], without it y = filtered.
    Biases and slopes f32 constant, one value a channel; residual like y. stride 1 or 2; pads = top, left,
    bottom, right of zeros around hidden. Output f32 [N,OH,OW,OC]. `fuse_inverted_residual` makes it.
    """

    inputs = (
        "x",
        "expand_weight?",
        "expand_bias?",
        "expand_slope?",
        "filter?",
        "filter_bias?",
        "filter_slope?",
        "weight?",
        "bias?",
        "slope?",
        "residual?",
    )
    attributes: ClassVar = {
        "stride": 1,
        "pads": [0, 0, 0, 0],
        **{f"{part}activation": "none" for part in _PARTS},
        **{f"{part}{name}": 0.0 for part in _PARTS for name in ("alpha", "beta")},
        "residual_mode": "none",
    }
    strided_inputs = True
    strided_outputs = True

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """f32 [N,OH,OW,OC]; GraphError where the parts do not fit together."""
        x = node.inputs[0]
        assert x is not None
        expand, taps, project = (_weight(node, index) for index in (1, 4, 7))
        if len(shape(x)) != 4 or dtype(x) != ir.DataType.FLOAT:
            raise GraphError(f"{where(node)}: x must be f32 [N,H,W,C], it is {dtype(x)} {shape(x)}")
        batch, height, width, channels = shape(x)
        hidden = channels if expand is None else len(expand)
        if taps is None or taps.shape[:2] != (hidden, 1) or taps.shape[2:] not in ((3, 3), (5, 5)):
            raise GraphError(f"{where(node)}: filter must be constant [{hidden}, 1, K, K] with K 3 or 5")
        if hidden < LEAST_HIDDEN or attr(node, "stride") not in (1, 2) or min(attr(node, "pads")) < 0:
            raise GraphError(f"{where(node)}: needs {LEAST_HIDDEN} hidden channels, stride 1 or 2, pads >= 0")
        for weight, inputs in ((expand, channels), (project, hidden)):
            if weight is not None and weight.shape[1:] != (inputs, 1, 1):
                raise GraphError(f"{where(node)}: weight {weight.shape} must be [OC, {inputs}, 1, 1]")
        out_channels = hidden if project is None else len(project)
        sizes = (_window(node, height, taps, 0), _window(node, width, taps, 1))
        return [(ir.DataType.FLOAT, (batch, *sizes, out_channels))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One call; 1x1 weights packed for the chosen row, the filter as [K * K, HIDDEN]."""
        x, y = node.inputs[0], node.outputs[0]
        assert x is not None
        taps = _weight(node, 4)
        assert taps is not None
        hidden, kernel, stride = len(taps), taps.shape[2], attr(node, "stride")
        row = low.choose("inverted_residual_f32f32")
        panels = panels_for(row)
        slope = channel_vector(node, 6, hidden)
        residual, residual_mode = residual_of(node, 10)
        (_, height, width, channels), (_, out_height, out_width, _) = shape(x), shape(y)
        rows = min(rows_together(out_width), out_height)
        lines = min((rows - 1) * stride + kernel, height) if _weight(node, 1) is not None else 0
        filtered = rows if _weight(node, 7) is not None else 0
        floats = (lines * width + filtered * out_width) * hidden + PACKED_ROWS * max(channels, hidden)
        low.call(
            node,
            row,
            inputs=[
                x,
                *_packed(node, low, panels, 1),
                low.weight(np.ascontiguousarray(taps.reshape(hidden, -1).T, np.float32), "filter"),
                low.const(channel_vector(node, 5, hidden, default=0.0), "filter_bias"),
                None if slope is None else low.const(slope, "filter_slope"),
                *_packed(node, low, panels, 7),
                residual,
            ],
            outputs=[y],
            params={
                "kernel": kernel,
                "stride": stride,
                "pads": attr(node, "pads"),
                **{f"{part}{name}": attr(node, f"{part}{name}") for part in _PARTS for name in _ACTIVATION},
                "residual_mode": residual_mode,
                "panel": panels.panel,
                "granule": panels.granule,
                "band": band_rows(out_height),
                "rows": rows,
            },
            scratch_bytes=floats * 4,
        )

    def macs(self, node: ir.Node) -> int:
        """Those of the three convolutions; expanded rows that two threads both make count once."""
        x = node.inputs[0]
        assert x is not None
        expand, taps, project = (_weight(node, index) for index in (1, 4, 7))
        pixels, out_pixels = math.prod(shape(x)[:3]), math.prod(shape(node.outputs[0])[:3])
        total = 0 if expand is None else pixels * expand.size
        total += 0 if taps is None else out_pixels * taps.size
        return total + (0 if project is None else out_pixels * project.size)


def rows_together(out_width: int) -> int:
    """Output rows that are made together: an even number of at least STEP_PIXELS pixels."""
    return TILE_ROWS * math.ceil(STEP_PIXELS / (TILE_ROWS * out_width))


def band_rows(out_height: int) -> int:
    """Output rows of a work item: four items where an image is high, else two, since each thread's first item
    expands the rows above it again.
    """
    return TILE_ROWS * math.ceil(out_height / (TILE_ROWS * (4 if out_height >= 56 else 2)))


_ACTIVATION = ("activation", "alpha", "beta")


def _weight(node: ir.Node, index: int) -> np.ndarray | None:
    return const(node.inputs[index]) if index < len(node.inputs) else None


def _window(node: ir.Node, extent: int, taps: np.ndarray, axis: int) -> int:
    pads, kernel = attr(node, "pads"), taps.shape[2]
    padded = extent + pads[axis] + pads[axis + 2]
    if kernel > padded:
        raise GraphError(f"{where(node)}: filter of {kernel} taps exceeds the padded input {padded}")
    return int((padded - kernel) // attr(node, "stride")) + 1


def _packed(node: ir.Node, low: Lowering, panels: Panels, index: int) -> list[Operand]:
    """Weight, bias and slope of the 1x1 convolution whose weight is operand `index`."""
    weight = _weight(node, index)
    if weight is None:
        return [None, None, None]
    columns, name = len(weight), InvertedResidual.inputs[index].rstrip("?")
    slope = channel_vector(node, index + 2, columns)
    bias: Any = channel_vector(node, index + 1, columns, default=0.0)
    return [
        low.weight(weight.reshape(columns, -1).T.astype(np.float32), name, panels),
        low.const(panels.pad(bias), name.replace("weight", "bias")),
        None if slope is None else low.const(panels.pad(slope), name.replace("weight", "slope")),
    ]
