"""Resize2d: separable resampling of two image axes by tables that are computed here (ONNX Resize, opset 19
and newer)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.registry import DOMAIN, REALS, REQUIRED, Op, attr, dtype, real_row, shape, where

_Number = TypeVar("_Number", int, float)
_ROUNDING = 1e-4  # pixels that an f32 roi may be off
_SLACK_FLOATS = 16  # kSlack of kernels/resize2d/resize2d.h


class Resize2d(Op):
    """y = x [N,H,W,C] resampled to [N,OH,OW,C], f32.

    out: [OH, OW]. scales: two floats, what coordinates are divided by. mode: nearest linear cubic.
    coordinate: ONNX's
    coordinate_transformation_mode. roi: [start_h, start_w, end_h, end_w] for tf_crop_and_resize.
    exclude_outside as in ONNX.
    """

    onnx = ("Resize",)
    inputs = ("x",)
    half = True
    attributes: ClassVar = {
        "out": REQUIRED,
        "scales": REQUIRED,
        "mode": "nearest",
        "coordinate": "half_pixel",
        "nearest_mode": "round_prefer_floor",
        "cubic_a": -0.75,
        "exclude_outside": 0,
        "roi": [0.0, 0.0, 1.0, 1.0],
    }
    strided_inputs = True
    strided_outputs = True

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """Any two axes of a rank-3 or rank-4 value become H and W of an NHWC image."""
        image = resized_image(node, layout)
        if image.attributes["mode"] == "nearest" and dtype(image.pixels) not in REALS:
            made = _pick(layout, image.pixels, image.attributes)
        else:
            made = layout.emit("Resize2d", [image.pixels], image.attributes)[0]
        layout.bind(node.outputs[0], layout.alias(made, image.dims), image.perm)

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """[N, OH, OW, C]."""
        (x,) = node.inputs
        assert x is not None
        if len(shape(x)) != 4 or dtype(x) not in REALS:
            raise GraphError(
                f"{where(node)}: x is {dtype(x)} {shape(x)}; an f32 or f16 image N,H,W,C is needed"
            )
        rows, cols = attr(node, "out")
        return [(dtype(x), (shape(x)[0], int(rows), int(cols), shape(x)[3]))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One `resize2d` call with its four tables."""
        (x,) = node.inputs
        assert x is not None
        tables = [table(node, axis, shape(x)[1 + axis]) for axis in (0, 1)]
        operands = [low.const(array, "resize table", exact=True) for pair in tables for array in pair]
        scratch = (shape(x)[2] * shape(x)[3] + _SLACK_FLOATS) * 4
        params = {"taps": tables[0][0].shape[1]}
        low.call(
            node, low.choose(real_row("resize2d", x)), [x, *operands], list(node.outputs), params, scratch
        )


@dataclass(frozen=True)
class ResizedImage:
    """What an ONNX Resize resamples: its pixels [N,H,W,C], the attributes of a Resize2d, and the dims and
    permutation that its result stands for."""

    pixels: ir.Value
    attributes: dict[str, Any]
    dims: list[int]
    perm: list[int]


def resized_image(node: ir.Node, layout: Layouter) -> ResizedImage:
    """Any two axes of a rank-3 or rank-4 value as H and W of an NHWC image; GraphError when no kernel
    resamples so."""
    x = node.inputs[0]
    assert x is not None
    dims = layout.shape(x)
    if attr(node, "antialias", 0):
        raise GraphError(f"{where(node)}: antialias=1 is not supported; resize without it, or blur before")
    sizes, scales, roi = _targets(node, layout)
    moving = [axis for axis in range(len(dims)) if sizes[axis] != dims[axis] or scales[axis] != 1.0]
    axes = _image_axes(node, dims, moving)
    rest = [axis for axis in range(len(dims)) if axis not in axes]
    perm = [*rest[:-1], *axes, *rest[-1:]] if len(rest) > 1 else [*rest, *axes]
    source = layout.as_perm(x, perm)
    image = (
        math.prod(dims[axis] for axis in rest[:-1]),
        *_spatial(dims, axes, 1),
        dims[rest[-1]] if len(rest) > 1 else 1,
    )
    if len(rest) == 1:
        image = (dims[rest[0]], *image[1:3], 1)
    attributes = {
        "out": list(_spatial(sizes, axes, 1)),
        "scales": list(_spatial(scales, axes, 1.0)),
        "mode": attr(node, "mode", "nearest"),
        "coordinate": attr(node, "coordinate_transformation_mode", "half_pixel"),
        "nearest_mode": attr(node, "nearest_mode", "round_prefer_floor"),
        "cubic_a": float(attr(node, "cubic_coeff_a", -0.75)),
        "exclude_outside": int(attr(node, "exclude_outside", 0)),
        "roi": [float(roi[0][axis]) for axis in axes] + [float(roi[1][axis]) for axis in axes],
    }
    if len(axes) == 1:
        attributes["roi"] = [0.0, float(roi[0][axes[0]]), 1.0, float(roi[1][axes[0]])]
    dims_out = [sizes[axis] for axis in perm]
    return ResizedImage(layout.alias(source, image), attributes, dims_out, perm)


def _pick(layout: Layouter, pixels: ir.Value, attributes: dict[str, Any]) -> ir.Value:
    """Nearest neighbours of any type are gathered: rows, then columns."""
    known = [ir.convenience.convert_attribute(key, item) for key, item in attributes.items()]
    resize = ir.Node(DOMAIN, "Resize2d", [pixels], known)
    for axis in (0, 1):
        positions = table(resize, axis, shape(pixels)[1 + axis])[0][:, 0]
        indices = layout.constant(np.ascontiguousarray(positions), f"{pixels.name}/nearest")
        pixels = layout.emit("Gather", [pixels, indices], {"axis": 1 + axis})[0]
    return pixels


def table(node: ir.Node, axis: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Input positions (s32) and weights (f32), each [out, taps], of one axis of `length` pixels (0: rows,
    1: columns)."""
    at = coordinates(node, axis, length)
    mode = attr(node, "mode")
    if mode == "nearest":
        return np.clip(_nearest(node, at), 0, length - 1).astype(np.int32)[:, None], np.ones(
            (len(at), 1), np.float32
        )
    base = np.floor(at).astype(np.int64)
    ratio = at - base
    if mode == "linear":
        positions, weights = base[:, None] + [0, 1], np.stack([1.0 - ratio, ratio], 1)
    elif mode == "cubic":
        positions, weights = base[:, None] + [-1, 0, 1, 2], _cubic(ratio, float(attr(node, "cubic_a")))
    else:
        raise GraphError(f"{where(node)}: mode {mode!r} is not one of nearest, linear, cubic")
    if attr(node, "exclude_outside"):
        weights = np.where((positions >= 0) & (positions < length), weights, 0.0)
        weights /= weights.sum(1, keepdims=True)
    return np.clip(positions, 0, length - 1).astype(np.int32), weights.astype(np.float32)


def coordinates(node: ir.Node, axis: int, length: int) -> np.ndarray:
    """Where each output position of an axis lies on the input (pixels, f64), by ONNX's
    coordinate_transformation_mode."""
    size, scale = int(attr(node, "out")[axis]), float(attr(node, "scales")[axis])
    at = np.arange(size, dtype=np.float64)
    # Scales are f32 in a model: 0.1 means 30 of 300 pixels, but 3 / f32(0.1) is just below 30, its floor 29.
    exact = np.float32(size / length) == np.float32(scale)
    times, parts = (length, size) if exact else (1, scale)
    mode = attr(node, "coordinate")
    if mode == "half_pixel" or (mode == "pytorch_half_pixel" and size > 1):
        return (at + 0.5) * times / parts - 0.5
    if mode == "pytorch_half_pixel":
        return at * 0.0
    if mode == "asymmetric":
        return at * times / parts
    if mode == "tf_half_pixel_for_nn":
        return (at + 0.5) * times / parts
    if mode == "align_corners":
        whole = scale * length  # ONNX measures with the unrounded output length
        return at * ((length - 1) / (whole - 1)) if size > 1 else at * 0.0
    if mode == "half_pixel_symmetric":
        centre = length / 2 * (1.0 - size / (scale * length))
        return centre + (at + 0.5) / scale - 0.5
    if mode == "tf_crop_and_resize":
        return _crop(node, axis, length, at)
    raise GraphError(f"{where(node)}: coordinate_transformation_mode {mode!r} is not known")


def _crop(node: ir.Node, axis: int, length: int, at: np.ndarray) -> np.ndarray:
    start, end = float(attr(node, "roi")[axis]), float(attr(node, "roi")[axis + 2])
    if len(at) > 1:
        at = start * (length - 1) + at * (end - start) * (length - 1) / (len(at) - 1)
    else:
        at = at + 0.5 * (start + end) * (length - 1)
    if at.min() < -_ROUNDING or at.max() > length - 1 + _ROUNDING:
        raise GraphError(
            f"{where(node)}: the roi {start}..{end} leaves the image; extrapolation is not supported"
        )
    inside: np.ndarray = np.clip(at, 0, length - 1)
    return inside


def _nearest(node: ir.Node, at: np.ndarray) -> np.ndarray:
    modes: dict[str, np.ndarray] = {
        "round_prefer_floor": np.ceil(at - 0.5),
        "round_prefer_ceil": np.floor(at + 0.5),
        "floor": np.floor(at),
        "ceil": np.ceil(at),
    }
    mode = attr(node, "nearest_mode")
    if mode not in modes:
        raise GraphError(f"{where(node)}: nearest_mode {mode!r} is not one of {', '.join(modes)}")
    return modes[mode]


def _cubic(ratio: np.ndarray, a: float) -> np.ndarray:
    """Keys' convolution weights (Keys 1981) of the four neighbours."""
    t = np.stack([ratio + 1.0, ratio, 1.0 - ratio, 2.0 - ratio], 1)
    near = ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0
    far = ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a
    weights: np.ndarray = np.where(t <= 1.0, near, far)
    return weights


def _image_axes(node: ir.Node, dims: tuple[int, ...], moving: list[int]) -> list[int]:
    """The one or two neighbouring axes that become H and W; H, W of NCHW where nothing says otherwise."""
    usual = [2, 3] if len(dims) == 4 else [len(dims) - 1]
    if set(moving) <= set(usual):
        return usual
    if len(moving) <= 2 and len(dims) >= 2:
        return moving
    raise GraphError(f"{where(node)}: axes {moving} of {dims} are resized; at most two can be")


def _spatial(values: Sequence[_Number], axes: list[int], unit: _Number) -> tuple[_Number, _Number]:
    """The values of the image axes as (rows, columns); a single axis is a row of pixels."""
    return (values[axes[0]], values[axes[1]]) if len(axes) == 2 else (unit, values[axes[0]])


def _targets(
    node: ir.Node, layout: Layouter
) -> tuple[list[int], list[float], tuple[list[float], list[float]]]:
    """Output dims, scales and roi (starts, ends) for every axis of x."""
    x = node.inputs[0]
    assert x is not None
    dims = layout.shape(x)
    axes = [axis % len(dims) for axis in attr(node, "axes", None) or range(len(dims))]
    roi, scales_in, sizes_in = (_array(node, layout, index) for index in (1, 2, 3))
    sizes, scales = list(dims), [1.0] * len(dims)
    if sizes_in is not None:
        for axis, (size, scale) in zip(
            axes, _kept_ratio(node, [dims[a] for a in axes], sizes_in), strict=True
        ):
            sizes[axis], scales[axis] = size, scale
    elif scales_in is not None:
        for axis, scale in zip(axes, scales_in, strict=True):
            sizes[axis], scales[axis] = math.floor(dims[axis] * np.float32(scale)), float(scale)
    else:
        raise GraphError(f"{where(node)}: it has neither scales nor sizes")
    if list(layout.shape(node.outputs[0])) != sizes:
        raise GraphError(f"{where(node)}: makes {sizes}, but the model says {layout.shape(node.outputs[0])}")
    starts, ends = [0.0] * len(dims), [1.0] * len(dims)
    if roi is not None and len(roi) == 2 * len(axes):
        for at, axis in enumerate(axes):
            starts[axis], ends[axis] = float(roi[at]), float(roi[at + len(axes)])
    return sizes, scales, (starts, ends)


def _kept_ratio(node: ir.Node, dims: list[int], sizes: np.ndarray) -> list[tuple[int, float]]:
    policy = attr(node, "keep_aspect_ratio_policy", "stretch")
    scales = [int(size) / dim for size, dim in zip(sizes, dims, strict=True)]
    if policy == "stretch":
        return [(int(size), scale) for size, scale in zip(sizes, scales, strict=True)]
    one = min(scales) if policy == "not_larger" else max(scales)
    return [(math.floor(dim * one + 0.5), one) for dim in dims]


def _array(node: ir.Node, layout: Layouter, index: int) -> np.ndarray | None:
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        return None
    array = layout.const(value)
    if array is None:
        raise GraphError(
            f"{where(node)}: {('x', 'roi', 'scales', 'sizes')[index]} is not a constant; fix the shapes first"
        )
    return array if array.size else None
