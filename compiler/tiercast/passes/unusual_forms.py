"""Forms of known operators that no kernel takes, as arithmetic of others: volumes, weights that the model
makes, antialiased Resize, MaxPool with indices, BatchNormalization in training mode, recurrent layers with
other cells."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir

from tiercast.ir.edit import array
from tiercast.passes.expansion import Expansion, known_shape, option
from tiercast.passes.recurrence import expand_recurrence, is_unusual_recurrence
from tiercast.passes.runtime_weights import expand_runtime_convolution, has_runtime_weight
from tiercast.passes.scattering import is_joinable, join_scattered
from tiercast.passes.volumes import expand_volume_convolution, expand_volume_pool, is_volume

_HUB_OPSET = 23
_LARGEST_MATRIX = 1 << 18

Corner = tuple[ir.Value, ir.Value | None]


def is_unusual(node: ir.Node) -> bool:
    """Whether the node is of a form that `UNUSUAL` expands."""
    source = node.inputs[0] if node.inputs else None
    if node.op_type == "GridSample":
        return source is not None and len(source.shape or ()) == 5
    if node.op_type == "Resize":
        return bool(option(node, "antialias", 0)) or _leaves_image(node)
    if node.op_type == "Conv":
        return is_volume(node) or has_runtime_weight(node)
    if node.op_type == "AveragePool" or (node.op_type == "MaxPool" and is_volume(node)):
        return is_volume(node)
    if node.op_type == "MaxPool":
        return len(node.outputs) > 1 and bool(node.outputs[1].uses() or node.outputs[1].is_graph_output())
    if node.op_type == "ScatterND":
        return is_joinable(node)
    if node.op_type in ("LSTM", "GRU", "RNN"):
        return is_unusual_recurrence(node)
    return node.op_type == "BatchNormalization" and bool(option(node, "training_mode", 0))


def _grid_sample(node: ir.Node) -> str | None:
    """x [N,C,D,H,W] sampled at grid [N,OD,OH,OW,3]; outside zeros, or what is nearest."""
    mode, padding = option(node, "mode", "linear"), option(node, "padding_mode", "zeros")
    if mode not in ("linear", "bilinear", "nearest") or padding not in ("zeros", "border"):
        known = "linear and nearest with zeros or border are known"
        return f"mode {mode!r} with padding {padding!r} of volumes; {known}"
    build, (x, grid) = Expansion(node), node.inputs[:2]
    batch, channels, *sizes = known_shape(x)
    points = math.prod(known_shape(grid)[1:4])
    places = []
    for axis, size in zip((2, 1, 0), sizes, strict=True):  # the grid's last axis is x, y, z
        at = build.op("Gather", grid, np.array(axis, np.int64), axis=4)
        scale = (size - 1) / 2 if option(node, "align_corners", 0) else size / 2
        scaled = build.op("Mul", build.reshape(at, batch, 1, points), scale)
        place = build.op("Add", scaled, (size - 1) / 2)
        places.append(build.op("Clip", place, 0.0, float(size - 1)) if padding == "border" else place)
    flat = build.reshape(x, batch, channels, math.prod(sizes))
    corners: list[list[Corner]]
    if mode == "nearest":
        corners = [[(build.op("Round", at), None)] for at in places]
    else:
        corners = [_two_corners(build, at) for at in places]
    total: ir.Value | None = None
    for corner in itertools.product(*corners):
        value = _read_corner(build, flat, corner, sizes, (batch, channels, points))
        total = value if total is None else build.op("Add", total, value)
    build.finish(build.reshape(total, batch, channels, *known_shape(grid)[1:4]))
    return None


def _two_corners(build: Expansion, at: ir.Value) -> list[Corner]:
    low = build.op("Floor", at)
    part = build.op("Sub", at, low)
    return [(low, build.op("Sub", 1.0, part)), (build.op("Add", low, 1.0), part)]


def _read_corner(
    build: Expansion,
    flat: ir.Value,
    corner: tuple[Corner, ...],
    sizes: list[int],
    dims: tuple[int, int, int],
) -> ir.Value:
    index: ir.Value | None = None
    weight: ir.Value | None = None
    for (at, part), size in zip(corner, sizes, strict=True):
        inside = build.op("Clip", at, 0.0, float(size - 1))
        here = build.op("Cast", build.op("Equal", at, inside), to=int(ir.DataType.FLOAT))
        share = here if part is None else build.op("Mul", here, part)
        weight = share if weight is None else build.op("Mul", weight, share)
        whole = build.op("Cast", inside, to=int(ir.DataType.INT64))
        if index is not None:
            whole = build.op("Add", build.op("Mul", index, np.array(size, np.int64)), whole)
        index = whole
    spread = build.op("Expand", index, np.array(dims, np.int64))
    return build.op("Mul", build.op("GatherElements", flat, spread, axis=2), weight)


def _crop_axes(node: ir.Node) -> list[tuple[int, np.ndarray]]:
    """Axes of a tf_crop_and_resize with a known roi, and the pixels along each that its results stand at."""
    roi = array(node.inputs[1]) if len(node.inputs) > 1 else None
    if option(node, "coordinate_transformation_mode", "") != "tf_crop_and_resize" or roi is None:
        return []
    before, after = known_shape(node.inputs[0]), known_shape(node.outputs[0])
    axes = [axis % len(before) for axis in option(node, "axes", list(range(len(before))))]
    found = []
    for axis, start, end in zip(axes, roi[: len(axes)].tolist(), roi[len(axes) :].tolist(), strict=True):
        last, count = before[axis] - 1, after[axis]
        ends = (start, end) if count > 1 else ((start + end) / 2,) * 2
        found.append((axis, np.linspace(ends[0] * last, ends[1] * last, count)))
    return found


def _leaves_image(node: ir.Node) -> bool:
    dims = node.inputs[0].shape if node.inputs[0] is not None else None
    if dims is None or node.outputs[0].shape is None or not all(isinstance(dim, int) for dim in dims):
        return False
    return any(
        at.min() < 0 or at.max() > known_shape(node.inputs[0])[axis] - 1 for axis, at in _crop_axes(node)
    )


def _crop_beyond(node: ir.Node) -> str | None:
    """The part of the crop that lies on the image, with `extrapolation_value` around it."""
    build, (dims, out) = Expansion(node), (known_shape(node.inputs[0]), known_shape(node.outputs[0]))
    found, sizes = _crop_axes(node), list(out)
    starts, ends, pads = [], [], np.zeros((2, len(dims)), np.int64)
    for axis, at in found:
        inside = np.flatnonzero((at >= 0) & (at <= dims[axis] - 1))
        if not inside.size:
            return "its roi lies outside the image"
        first, last = int(inside[0]), int(inside[-1])
        starts.append(at[first] / max(dims[axis] - 1, 1))
        ends.append(at[last] / max(dims[axis] - 1, 1))
        sizes[axis] = last - first + 1
        pads[:, axis] = first, out[axis] - 1 - last
    roi = np.array([*starts, *ends], np.float32)
    changed = np.array([sizes[axis] for axis, _ in found], np.int64)
    attributes = {item.name: item.value for item in node.attributes.values()}
    crop = build.op("Resize", node.inputs[0], roi, None, changed, **attributes)
    build.finish(build.op("Pad", crop, pads.reshape(-1), float(option(node, "extrapolation_value", 0.0))))
    return None


def _resize(node: ir.Node) -> str | None:
    """A crop that leaves the image; else a product with a matrix along each axis that changes: resizing is
    linear and separable.
    """
    if not option(node, "antialias", 0):
        return _crop_beyond(node)
    build, current = Expansion(node), node.inputs[0]
    before, after = known_shape(current), known_shape(node.outputs[0])
    rank = len(before)
    axes = [axis % rank for axis in option(node, "axes", list(range(rank)))]
    given = array(node.inputs[2]) if len(node.inputs) > 2 else None
    factors = dict(zip(axes, given.tolist(), strict=True)) if given is not None and given.size else {}
    for axis, (old, new) in enumerate(zip(before, after, strict=True)):
        if old == new and factors.get(axis, 1.0) == 1.0:
            continue
        if old * new > _LARGEST_MATRIX:
            return f"its matrix of {old} x {new} is too large"
        order = [at for at in range(rank) if at != axis] + [axis]
        weights = _resize_matrix(node, old, new, factors.get(axis))
        made = build.op("MatMul", build.op("Transpose", current, perm=order), weights)
        current = build.op("Transpose", made, perm=[order.index(at) for at in range(rank)])
    assert current is not None
    build.finish(current)
    return None


def _resize_matrix(node: ir.Node, old: int, new: int, factor: float | None) -> np.ndarray:
    """[old, new]: what ONNX's reference evaluator makes of each unit vector."""
    from onnx.reference import ReferenceEvaluator

    helper, skipped = onnx.helper, ("axes", "keep_aspect_ratio_policy")
    kept = {item.name: item.value for item in node.attributes.values() if item.name not in skipped}
    operands = ["x", "", "", "sizes"] if factor is None else ["x", "", "scales"]
    port = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [old, old])
    constants = [
        onnx.numpy_helper.from_array(np.array([old, new], np.int64), "sizes"),
        onnx.numpy_helper.from_array(np.array([1.0, factor or 1.0], np.float32), "scales"),
    ]
    graph = helper.make_graph(
        [helper.make_node("Resize", operands, ["y"], **kept)],
        "resize",
        [port],
        [helper.make_empty_tensor_value_info("y")],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _HUB_OPSET)], ir_version=11)
    (matrix,) = ReferenceEvaluator(model).run(None, {"x": np.eye(old, dtype=np.float32)})
    return np.asarray(matrix, np.float32)


def _max_pool(node: ir.Node) -> str | None:
    """The largest of all taps, and where in x it stood, as ONNX counts: over the whole flattened tensor."""
    build, x = Expansion(node), node.inputs[0]
    dims, out = known_shape(x), known_shape(node.outputs[0])
    kind = x.dtype if x is not None else None
    if kind != ir.DataType.FLOAT:  # as Pool2d does
        x = build.op("Cast", x, to=int(ir.DataType.FLOAT))
    plain = option(node, "auto_pad", "NOTSET") in ("NOTSET", "VALID") and not option(node, "ceil_mode", 0)
    if len(dims) != 4 or not plain:
        return "indices are computed of images, with explicit pads and without ceil_mode"
    kernel, pads = node.attributes["kernel_shape"].as_ints(), option(node, "pads", [0, 0, 0, 0])
    strides, steps = option(node, "strides", [1, 1]), option(node, "dilations", [1, 1])
    padded = build.op("Pad", x, np.array([0, 0, *pads[:2], 0, 0, *pads[2:]], np.int64), -np.inf)
    taps = list(itertools.product(range(kernel[0]), range(kernel[1])))
    parts = []
    for tap in taps:
        first = [tap[axis] * steps[axis] for axis in (0, 1)]
        last = [first[axis] + (out[2 + axis] - 1) * strides[axis] + 1 for axis in (0, 1)]
        bounds = [np.array(item, np.int64) for item in (first, last, [2, 3], strides)]
        parts.append(build.op("Unsqueeze", build.op("Slice", padded, *bounds), np.array([0], np.int64)))
    stacked = build.op("Concat", *parts, axis=0)
    best = build.op("ArgMax", stacked, axis=0, keepdims=0)
    most = build.op("ReduceMax", stacked, np.array([0], np.int64), keepdims=0)
    row, column = (1, dims[2]) if option(node, "storage_order", 0) else (dims[3], 1)
    offsets = np.array([tap[0] * steps[0] * row + tap[1] * steps[1] * column for tap in taps], np.int64)
    planes = np.arange(dims[0] * dims[1]).reshape(dims[0], dims[1], 1, 1) * dims[2] * dims[3]
    rows = (np.arange(out[2]) * strides[0] - pads[0]).reshape(-1, 1) * row
    columns = (np.arange(out[3]) * strides[1] - pads[1]) * column
    places = (planes + rows + columns).astype(np.int64)
    if kind != ir.DataType.FLOAT:
        most = build.op("Cast", most, to=int(kind or ir.DataType.FLOAT))
    build.finish(most, build.op("Add", build.op("Gather", offsets, best), places))
    return None


def _batch_norm(node: ir.Node) -> str | None:
    """With the batch's own mean and variance; the running ones move towards them."""
    build, (x, scale, bias, mean, variance) = Expansion(node), node.inputs[:5]
    rank, momentum = len(known_shape(x)), float(option(node, "momentum", 0.9))
    axes = np.array([axis for axis in range(rank) if axis != 1], np.int64)
    own = build.op("ReduceMean", x, axes)
    apart = build.op("Sub", x, own)
    spread = build.op("ReduceMean", build.op("Mul", apart, apart), axes)
    along = [1, known_shape(scale)[0], *[1] * (rank - 2)]
    deviation = build.op("Sqrt", build.op("Add", spread, float(option(node, "epsilon", 1e-5))))
    factor = build.op("Div", build.reshape(scale, *along), deviation)
    y = build.op("Add", build.op("Mul", apart, factor), build.reshape(bias, *along))
    moved = [
        build.op("Add", build.op("Mul", old, momentum), build.op("Mul", build.reshape(new, -1), 1 - momentum))
        for old, new in ((mean, own), (variance, spread))
    ]
    build.finish(y, *moved)
    return None


UNUSUAL: dict[str, Callable[[ir.Node], str | None]] = {
    "GridSample": _grid_sample,
    "Resize": _resize,
    "Conv": lambda node: (expand_volume_convolution if is_volume(node) else expand_runtime_convolution)(node),
    "AveragePool": expand_volume_pool,
    "MaxPool": lambda node: (expand_volume_pool if is_volume(node) else _max_pool)(node),
    "BatchNormalization": _batch_norm,
    "ScatterND": join_scattered,
    "LSTM": expand_recurrence,
    "GRU": expand_recurrence,
    "RNN": expand_recurrence,
}
