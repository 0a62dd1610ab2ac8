"""Copy: a strided N-d copy; what every ONNX op that only moves data becomes when no window can express it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.layouter import MAX_COPY_AXES, Layouter
from tiercast.ops.lowering import Lowering, View
from tiercast.ops.registry import REQUIRED, Op, attr, dense_strides, dtype, shape, where


class Copy(Op):
    """y[i0, i1, ...] = x[offset + Σ i_k * in_strides_k], for i_k < dims_k; y is viewed as `shape`.

    x: any dtype, dense. dims: at most 8, the axes of `shape` or parts of them in order (so that y may be a
    window); unit
    axes do not count. in_strides: elements of x, may be 0 (repeat) or negative (reverse). Output: shape,
    dtype of x.
    """

    onnx = ("Transpose", "Expand", "Tile", "DepthToSpace", "SpaceToDepth")
    inputs = ("x",)
    half = True
    attributes: ClassVar = {"dims": REQUIRED, "in_strides": REQUIRED, "offset": 0, "shape": REQUIRED}
    strided_outputs = True

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """Transpose only composes the lazy perm; the others copy."""
        _LEGALIZE[node.op_type](node, layout)

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """`shape`; the read positions must lie inside x."""
        (x,) = node.inputs
        assert x is not None
        dims, strides, offset = attr(node, "dims"), attr(node, "in_strides"), int(attr(node, "offset"))
        dims_out = tuple(int(dim) for dim in attr(node, "shape"))
        if len(dims) != len(strides) or len(dims) > MAX_COPY_AXES or not _splits(dims, dims_out):
            raise GraphError(
                f"{where(node)}: dims {dims} with strides {strides} do not split {dims_out} in at most 8 axes"
            )
        far = [(dim - 1) * step for dim, step in zip(dims, strides, strict=True)]
        least, most = offset + sum(min(step, 0) for step in far), offset + sum(max(step, 0) for step in far)
        if least < 0 or most >= math.prod(shape(x)):
            raise GraphError(f"{where(node)}: it reads elements {least}..{most} of {math.prod(shape(x))}")
        return [(dtype(x), dims_out)]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One `copy` call."""
        params = {
            "rank": max(len(attr(node, "dims")), 1),
            "dims": attr(node, "dims") or [1],
            "in_strides": attr(node, "in_strides") or [0],
            "offset": int(attr(node, "offset")),
        }
        low.call(node, low.choose("copy_anyany"), [node.inputs[0]], [node.outputs[0]], params)


def copy_view(low: Lowering, node: ir.Node, x: ir.Value | View, y: ir.Value | View) -> None:
    """Emits a `copy` call between two windows of equal dims and dtype, whatever their (non-negative)
    strides."""
    params = {"rank": 0, "dims": [], "in_strides": [], "offset": 0}
    low.call(node, low.choose("copy_anyany"), [x], [y], params)


def _splits(dims: Sequence[int], axes: Sequence[int]) -> bool:
    """Whether each axis is a product of successive dims, unit dims aside."""
    rest = [dim for dim in dims if dim != 1]
    for axis in axes:
        while axis != 1 and rest and rest[0] and axis % rest[0] == 0:
            axis //= rest.pop(0)
        if axis != 1:
            return False
    return not rest


def emit_copy(
    layout: Layouter, x: ir.Value, axes: Sequence[tuple[int, int]], dims_out: Sequence[int], offset: int = 0
) -> ir.Value:
    """A Copy of physical x with loop axes (dim, stride), outermost first; unit axes are dropped to stay
    within 8."""
    kept = [(dim, step) for dim, step in axes if dim != 1]
    attributes = {
        "dims": [dim for dim, _ in kept] or [1],
        "in_strides": [step for _, step in kept] or [0],
        "offset": offset,
        "shape": list(dims_out),
    }
    return layout.emit("Copy", [x], attributes)[0]


def _transpose(node: ir.Node, layout: Layouter) -> None:
    x = node.inputs[0]
    assert x is not None
    rank = len(layout.shape(x))
    order = attr(node, "perm") or list(reversed(range(rank)))
    perm = layout.perm(x)
    # Physical axis k is x's axis perm[k], which is y's axis order.index(perm[k]).
    layout.bind(node.outputs[0], layout.as_perm(x, perm), [order.index(axis) for axis in perm])


def _expand(node: ir.Node, layout: Layouter) -> None:
    """Keeps the input's order; new axes lead."""
    x, wanted = node.inputs[0], constant_ints(node, layout, 1, "shape")
    assert x is not None
    dims, perm = layout.shape(x), layout.perm(x)
    dims_out = np.broadcast_shapes(dims, tuple(wanted))
    new = len(dims_out) - len(dims)
    order = [*range(new), *(axis + new for axis in perm)]
    held = [dims[axis] for axis in perm]
    axes = [(dims_out[axis], 0) for axis in range(new)]
    for axis, step in zip(perm, dense_strides(held), strict=True):
        axes.append((dims_out[axis + new], 0 if dims[axis] == 1 else step))
    made = emit_copy(layout, layout.as_perm(x, perm), axes, [dims_out[axis] for axis in order])
    layout.bind(node.outputs[0], made, order)


def _tile(node: ir.Node, layout: Layouter) -> None:
    """Keeps the input's order."""
    x, repeats = node.inputs[0], constant_ints(node, layout, 1, "repeats")
    assert x is not None
    dims, perm = layout.shape(x), layout.perm(x)
    held = [dims[axis] for axis in perm]
    axes = [
        part
        for axis, step in zip(perm, dense_strides(held), strict=True)
        for part in ((repeats[axis], 0), (dims[axis], step))
    ]
    made = emit_copy(layout, layout.as_perm(x, perm), axes, [dims[axis] * repeats[axis] for axis in perm])
    layout.bind(node.outputs[0], made, perm)


def _depth_to_space(node: ir.Node, layout: Layouter) -> None:
    x = node.inputs[0]
    assert x is not None
    source = layout.channels_last(x)
    batch, rows, cols, depth = shape(source)
    block = int(attr(node, "blocksize"))
    if depth % (block * block):
        raise GraphError(f"{where(node)}: {depth} channels do not divide into blocks of {block}x{block}")
    out = depth // (block * block)
    by_row, by_col, by_depth = (
        (block, 1, block * block) if attr(node, "mode", "DCR") == "CRD" else (block * out, out, 1)
    )
    line = cols * depth
    axes = [
        (batch, rows * line),
        (rows, line),
        (block, by_row),
        (cols, depth),
        (block, by_col),
        (out, by_depth),
    ]
    made = emit_copy(layout, source, axes, [batch, rows * block, cols * block, out])
    layout.bind(node.outputs[0], made, (0, 2, 3, 1))


def _space_to_depth(node: ir.Node, layout: Layouter) -> None:
    x = node.inputs[0]
    assert x is not None
    source = layout.channels_last(x)
    batch, rows, cols, depth = shape(source)
    block = int(attr(node, "blocksize"))
    if rows % block or cols % block:
        raise GraphError(f"{where(node)}: {rows}x{cols} does not divide into blocks of {block}x{block}")
    line = cols * depth
    blocks = [(batch, rows * line), (rows // block, block * line), (cols // block, block * depth)]
    within = [(block, line), (block, depth)]
    crd = attr(node, "mode", "DCR") == "CRD"
    axes = [*blocks, (depth, 1), *within] if crd else [*blocks, *within, (depth, 1)]
    made = emit_copy(layout, source, axes, [batch, rows // block, cols // block, depth * block * block])
    layout.bind(node.outputs[0], made, (0, 2, 3, 1))


_LEGALIZE: dict[str, Callable[[ir.Node, Layouter], None]] = {
    "Transpose": _transpose,
    "Expand": _expand,
    "Tile": _tile,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
}


def constant_ints(node: ir.Node, layout: Layouter, index: int, name: str) -> list[int]:
    """The integers of constant input `index`; GraphError when it is computed at run time."""
    value = node.inputs[index] if index < len(node.inputs) else None
    array = layout.const(value) if value is not None else None
    if array is None:
        raise GraphError(
            f"{where(node)}: {name} is not a constant; shapes are fixed when the model is compiled"
        )
    return [int(item) for item in np.asarray(array).reshape(-1)]


def optional_ints(node: ir.Node, layout: Layouter, index: int, name: str) -> list[int] | None:
    """Like `constant_ints`, None where the input is absent."""
    value = node.inputs[index] if index < len(node.inputs) else None
    return None if value is None else constant_ints(node, layout, index, name)
