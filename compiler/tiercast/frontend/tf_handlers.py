"""How tf2onnx converts operators that it lacks, or converts with losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from tiercast.frontend.tf_suppression import combined_suppression


def _erfc(context: Any, node: Any, name: str, arguments: Any) -> None:
    """erfc(x) = 1 - erf(x), which Keras' exact gelu is made of."""
    del arguments
    out, kind, dims = node.output[0], context.get_dtype(node.output[0]), context.get_shape(node.output[0])
    numpy_type = onnx.helper.tensor_dtype_to_np_dtype(kind)
    one = context.make_const(f"{name}_one", np.array(1, numpy_type))
    erf = context.make_node("Erf", [node.input[0]], shapes=[dims], dtypes=[kind])
    context.remove_node(node.name)
    context.make_node(
        "Sub", [one.output[0], erf.output[0]], name=name, outputs=[out], shapes=[dims], dtypes=[kind]
    )


def _resize(context: Any, node: Any, name: str, arguments: Any) -> None:
    """An image resized to sizes, not by their ratio in f32, whose product may be a pixel short."""
    del arguments
    known = context.get_shape(node.input[0]) or [-1] * 4
    dims = [None if dim is None or dim < 0 else dim for dim in known]
    rows, cols = None, None
    if node.inputs[1].is_const():
        rows, cols = (int(size) for size in np.reshape(node.inputs[1].get_tensor_value(as_list=False), -1))
    given = {
        key: bool(node.attr[key].i) for key in ("align_corners", "half_pixel_centers") if key in node.attr
    }
    attributes = _resampling(node.type, dims[1:3], (rows, cols), **given)
    if None in (dims[0], dims[3], rows):
        sizes = _sizes(context, node, name)
    else:
        sizes = context.make_const(f"{name}_sizes", np.array([dims[0], dims[3], rows, cols], np.int64))
    out, kind = node.output[0], context.get_dtype(node.output[0])
    planes = context.make_node("Transpose", [node.input[0]], attr={"perm": [0, 3, 1, 2]})
    inputs = [planes.output[0], "", "", sizes.output[0]]
    resized = context.make_node("Resize", inputs, attr=attributes, dtypes=[context.get_dtype(node.input[0])])
    made, plain = resized.output[0], context.get_dtype(node.input[0])
    context.remove_node(node.name)
    if kind != plain:  # TensorFlow's bilinear gives f32 of any image
        made = context.make_node("Cast", [made], attr={"to": kind}, dtypes=[kind]).output[0]
    context.make_node(
        "Transpose", [made], attr={"perm": [0, 2, 3, 1]}, name=name, outputs=[out], dtypes=[kind],
        shapes=[[-1 if dim is None else dim for dim in (dims[0], rows, cols, dims[3])]],
    )  # fmt: skip


def _sizes(context: Any, node: Any, name: str) -> Any:
    """Batch, channels, rows and columns as the graph computes them."""
    kept = context.make_const(f"{name}_kept", np.array([0, 3], np.int64))
    shape = context.make_node("Shape", [node.input[0]])
    outer = context.make_node("Gather", [shape.output[0], kept.output[0]])
    whole = context.make_node("Cast", [node.input[1]], attr={"to": onnx.TensorProto.INT64})
    return context.make_node("Concat", [outer.output[0], whole.output[0]], attr={"axis": 0})


def _resampling(
    op_type: str,
    before: Sequence[int | None],
    after: Sequence[int | None],
    align_corners: bool = False,
    half_pixel_centers: bool = False,
) -> dict[str, Any]:
    """Attributes of ONNX's Resize (tensorflow/core/kernels/image: resize_*_op.cc)."""
    coordinates = "half_pixel" if half_pixel_centers else "align_corners" if align_corners else "asymmetric"
    plain = {"coordinate_transformation_mode": coordinates}
    if op_type == "ResizeBilinear":
        return {**plain, "mode": "linear"}
    if op_type == "ResizeBicubic":
        keys = (
            {"cubic_coeff_a": -0.5, "exclude_outside": 1} if half_pixel_centers else {"cubic_coeff_a": -0.75}
        )
        return {**plain, "mode": "cubic", **keys}
    if op_type == "ResizeArea" and (
        align_corners or any(not old or not new or new % old for old, new in zip(before, after, strict=True))
    ):
        raise ValueError(
            f"an area resize of {before[0]}x{before[1]} to {after[0]}x{after[1]}, no whole multiple"
        )
    rounding = "round_prefer_ceil" if align_corners or half_pixel_centers else "floor"
    return {**plain, "mode": "nearest", "nearest_mode": rounding}


def _reverse(context: Any, node: Any, name: str, arguments: Any) -> None:
    """tf.reverse along constant axes: a slice with steps of -1."""
    del arguments
    out, rank = node.output[0], context.get_rank(node.input[0])
    if not node.inputs[1].is_const() or rank is None:
        raise ValueError("the axes to reverse are computed at run time")
    axes = [int(axis) % rank for axis in np.reshape(node.inputs[1].get_tensor_value(as_list=False), -1)]
    kind, dims = context.get_dtype(out), context.get_shape(out)
    ends = {"starts": -1, "ends": np.iinfo(np.int64).min, "axes": None, "steps": -1}
    constants = [
        context.make_const(f"{name}_{key}", np.array(axes if fill is None else [fill] * len(axes), np.int64))
        for key, fill in ends.items()
    ]
    inputs = [node.input[0], *(constant.output[0] for constant in constants)]
    context.remove_node(node.name)
    context.make_node("Slice", inputs, name=name, outputs=[out], shapes=[dims], dtypes=[kind])


HANDLERS = {
    "CombinedNonMaxSuppression": combined_suppression,
    "Erfc": _erfc,
    "ReverseV2": _reverse,
    "ResizeBilinear": _resize,
    "ResizeNearestNeighbor": _resize,
    "ResizeBicubic": _resize,
    "ResizeArea": _resize,
}
