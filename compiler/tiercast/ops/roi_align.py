"""RoiAlign: regions of images, sampled to one size."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.layouter import CHANNELS_LAST, Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.registry import REQUIRED, Op, attr, dtype, shape, where

_POOLS = {"avg": "average", "max": "max"}
_MOST_SAMPLES = 1024


class RoiAlign(Op):
    """y[R,OH,OW,C]: regions rois[R,4] (x1, y1, x2, y2, times `spatial_scale`) of the images x[N,H,W,C] that
    images[R] (s64) number, f32; an image that is not there gives zeros. size: [OH, OW].

    A bin is the average of sampling_ratio^2 samples between pixels (0: as many as it has pixels), or the
    largest weighted pixel of them; samples off the image are zero. half_pixel: pixels' centres lie at .5, and
    regions may be smaller than a pixel.
    """

    onnx = ("RoiAlign",)
    inputs = ("x", "rois", "images")
    attributes: ClassVar = {
        "size": REQUIRED,
        "pool": "average",
        "half_pixel": 1,
        "sampling_ratio": 0,
        "spatial_scale": 1.0,
    }
    strided_outputs = True

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """Images in NHWC."""
        x, rois, images = node.inputs
        assert x is not None and rois is not None and images is not None
        pool, mode = attr(node, "mode", "avg"), attr(node, "coordinate_transformation_mode", "half_pixel")
        if pool not in _POOLS or mode not in ("half_pixel", "output_half_pixel"):
            raise GraphError(
                f"{where(node)}: mode {pool!r} with {mode!r}; avg or max, half_pixel or output_half_pixel"
            )
        attributes = {
            "size": [int(attr(node, "output_height", 1)), int(attr(node, "output_width", 1))],
            "pool": _POOLS[pool],
            "half_pixel": int(mode == "half_pixel"),
            "sampling_ratio": int(attr(node, "sampling_ratio", 0)),
            "spatial_scale": float(attr(node, "spatial_scale", 1.0)),
        }
        operands = [layout.channels_last(x), layout.plain(rois), layout.plain(images)]
        layout.bind(node.outputs[0], layout.emit("RoiAlign", operands, attributes)[0], CHANNELS_LAST)

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """[R, OH, OW, C]."""
        x, rois, images = node.inputs
        assert x is not None and rois is not None and images is not None
        if len(shape(x)) != 4 or dtype(x) != ir.DataType.FLOAT or dtype(rois) != ir.DataType.FLOAT:
            raise GraphError(
                f"{where(node)}: images {dtype(x)} {shape(x)} and regions {dtype(rois)}: f32, rank 4 and 2"
            )
        count = shape(images)
        if len(count) != 1 or shape(rois) != (*count, 4) or dtype(images) != ir.DataType.INT64:
            raise GraphError(
                f"{where(node)}: regions {shape(rois)}, image numbers {dtype(images)} {count}: [R,4], s64 [R]"
            )
        size, samples = [int(item) for item in attr(node, "size")], int(attr(node, "sampling_ratio"))
        if len(size) != 2 or min(size) < 1 or not 0 <= samples <= _MOST_SAMPLES:
            raise GraphError(
                f"{where(node)}: size {size}, sampling_ratio {samples}: both sides are at least 1, the "
                f"samples 0 to {_MOST_SAMPLES}"
            )
        return [(dtype(x), (*count, *size, shape(x)[3]))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One `roi_align` call."""
        names = ("pool", "half_pixel", "sampling_ratio", "spatial_scale")
        params = {name: attr(node, name) for name in names}
        low.call(node, low.choose("roi_align_f32f32"), list(node.inputs), list(node.outputs), params)
