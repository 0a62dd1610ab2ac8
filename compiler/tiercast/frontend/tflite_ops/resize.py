"""Resampling of images."""

from __future__ import annotations

from tiercast.errors import ModelError
from tiercast.frontend.tflite_ops.file import Operator
from tiercast.frontend.tflite_ops.scope import CHANNELS_FIRST, Scope
from tiercast.frontend.tflite_ops.shapes import keep, stored
from tiercast.frontend.tflite_ops.table import options, translates


@translates("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", inputs=2)
def resize(scope: Scope, op: Operator) -> None:
    """To a constant size, by one of TFLite's three rules of where a pixel's centre lies."""
    x, out = op.inputs[0], op.outputs[0]
    linear = op.kind == "RESIZE_BILINEAR"
    chosen = options(op, "ResizeBilinearOptions" if linear else "ResizeNearestNeighborOptions")
    if chosen["AlignCorners"] and chosen["HalfPixelCenters"]:
        raise ModelError("AlignCorners and HalfPixelCenters exclude each other")
    dims, size = scope.shape(x), scope.numbers(op.inputs[1], "the new size")
    if len(dims) != 4 or len(size) != 2 or min(size) < 1:
        raise ModelError(f"{dims} can't be resized to {size}")
    corners, centres = bool(chosen["AlignCorners"]), bool(chosen["HalfPixelCenters"])
    how = "align_corners" if corners else "half_pixel" if centres else "asymmetric"
    value = scope.real(x, CHANNELS_FIRST) if linear else stored(scope, x, out, CHANNELS_FIRST)
    sizes = scope.builder.ints([dims[0], dims[3], *size])
    attributes = {"coordinate_transformation_mode": how, "mode": "linear" if linear else "nearest"}
    if not linear:  # floor(x), round(x), or floor of half a pixel more, which is rounding as well
        attributes["nearest_mode"] = "floor" if how == "asymmetric" else "round_prefer_ceil"
    made = scope.builder.emit("Resize", [value, None, None, sizes], **attributes)
    if linear:
        scope.put(out, made, CHANNELS_FIRST)
    else:
        keep(scope, x, out, made, CHANNELS_FIRST)
