"""Forms of known operators that no kernel takes, as arithmetic of others: weights that the model makes,
antialiased Resize, MaxPool with indices, BatchNormalization in training mode, recurrent layers with
other cells."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from tiercast.passes.expansion import Expansion, known_shape, option
from tiercast.passes.recurrence import expand_recurrence, is_unusual_recurrence
from tiercast.passes.resizing import expand_resize, is_unusual_resize
from tiercast.passes.runtime_weights import expand_runtime_convolution, has_runtime_weight
from tiercast.passes.scattering import is_joinable, join_scattered

Corner = tuple[ir.Value, ir.Value | None]


def is_unusual(node: ir.Node) -> bool:
    """Whether the node is of a form that `UNUSUAL` expands."""
    source = node.inputs[0] if node.inputs else None
    if node.op_type == "GridSample":
        return source is not None and len(source.shape or ()) == 5
    if node.op_type == "Resize":
        return is_unusual_resize(node)
    if node.op_type == "Conv":
        return has_runtime_weight(node)
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


def _max_pool(node: ir.Node) -> str | None:
    """The largest of all taps, and where in x it stood, as ONNX counts: over the whole flattened tensor."""
    build, x = Expansion(node), node.inputs[0]
    dims, out = known_shape(x), known_shape(node.outputs[0])
    kind = x.dtype if x is not None else None
    if kind != ir.DataType.FLOAT:  # as Pool2d does
        x = build.op("Cast", x, to=int(ir.DataType.FLOAT))
    if option(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return "indices are computed with explicit pads only"
    kernel, size, count = node.attributes["kernel_shape"].as_ints(), dims[2:], len(dims) - 2
    pads, ones = option(node, "pads", [0] * 2 * count), [1] * count
    strides, steps = option(node, "strides", ones), option(node, "dilations", ones)
    # With ceil_mode the last window may end behind the pads.
    behind = [
        max((out[2 + i] - 1) * strides[i] + (kernel[i] - 1) * steps[i] + 1 - size[i] - pads[i], 0)
        for i in range(count)
    ]
    around = np.array([0, 0, *pads[:count], 0, 0, *behind], np.int64)
    padded = build.op("Pad", x, around, -np.inf)
    taps = list(itertools.product(*(range(item) for item in kernel)))
    axes = list(range(2, 2 + count))
    parts = []
    for tap in taps:
        first = [tap[i] * steps[i] for i in range(count)]
        last = [first[i] + (out[2 + i] - 1) * strides[i] + 1 for i in range(count)]
        bounds = [np.array(item, np.int64) for item in (first, last, axes, strides)]
        parts.append(build.op("Unsqueeze", build.op("Slice", padded, *bounds), np.array([0], np.int64)))
    stacked = build.op("Concat", *parts, axis=0)
    best = build.op("ArgMax", stacked, axis=0, keepdims=0)
    most = build.op("ReduceMax", stacked, np.array([0], np.int64), keepdims=0)
    if kind != ir.DataType.FLOAT:
        most = build.op("Cast", most, to=int(kind or ir.DataType.FLOAT))
    factors = _index_factors(size, bool(option(node, "storage_order", 0)))
    offsets = np.array([sum(f * t * s for f, t, s in zip(factors, tap, steps, strict=True)) for tap in taps])
    places = (np.arange(dims[0] * dims[1]) * math.prod(size)).reshape(dims[0], dims[1], *ones)
    for i in range(count):
        starts = (np.arange(out[2 + i]) * strides[i] - pads[i]) * factors[i]
        places = places + starts.reshape([-1 if at == i else 1 for at in range(count)])
    build.finish(most, build.op("Add", build.op("Gather", offsets, best), places))
    return None


def _index_factors(size: tuple[int, ...], columns_first: bool) -> list[int]:
    """How far one step along each axis goes in the flattened picture."""
    if columns_first:
        return [math.prod(size[:i]) for i in range(len(size))]
    return [math.prod(size[i + 1 :]) for i in range(len(size))]


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
    "Resize": expand_resize,
    "Conv": expand_runtime_convolution,
    "MaxPool": _max_pool,
    "BatchNormalization": _batch_norm,
    "ScatterND": join_scattered,
    "LSTM": expand_recurrence,
    "GRU": expand_recurrence,
    "RNN": expand_recurrence,
}
