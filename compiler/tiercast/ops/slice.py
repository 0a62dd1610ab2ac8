"""Slice: a window of a value, planned as a view by `lower/`; ONNX slices with steps other than 1 become a
Copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.copy import constant_ints, emit_copy, optional_ints
from tiercast.ops.layouter import Layouter, Perm
from tiercast.ops.registry import REQUIRED, Op, attr, dense_strides, dtype, shape, where


class Slice(Op):
    """y = x[starts : starts + sizes] per physical axis. Output: `sizes`, dtype of x."""

    onnx = ("Slice", "Split")
    inputs = ("x",)
    half = True
    attributes: ClassVar = {"starts": REQUIRED, "sizes": REQUIRED}
    strided_inputs = True
    strided_outputs = True

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """Split makes one window per output."""
        if node.op_type == "Split":
            _split(node, layout)
        else:
            _slice(node, layout)

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """`sizes`; the window must lie inside x."""
        (x,) = node.inputs
        assert x is not None
        starts, sizes = attr(node, "starts"), attr(node, "sizes")
        for at, (start, size, dim) in enumerate(zip(starts, sizes, shape(x), strict=True)):
            if size < 1 or start < 0 or start + size > dim:
                raise GraphError(f"{where(node)}: axis {at}: {size} elements from {start} leave 0..{dim - 1}")
        return [(dtype(x), tuple(int(size) for size in sizes))]


def window(
    layout: Layouter, x: ir.Value, perm: Perm, starts: Sequence[int], sizes: Sequence[int]
) -> ir.Value:
    """The physical window, in `perm`, of logical x that starts at `starts` and has `sizes` (logical
    order)."""
    attributes = {"starts": [starts[axis] for axis in perm], "sizes": [sizes[axis] for axis in perm]}
    return layout.emit("Slice", [layout.as_perm(x, perm)], attributes)[0]


def _split(node: ir.Node, layout: Layouter) -> None:
    x = node.inputs[0]
    assert x is not None
    dims = layout.shape(x)
    axis = int(attr(node, "axis", 0)) % len(dims)
    perm = layout.perm(x)
    start = 0
    for out in node.outputs:
        size = layout.shape(out)[axis]
        starts = [start if at == axis else 0 for at in range(len(dims))]
        sizes = [size if at == axis else dim for at, dim in enumerate(dims)]
        layout.bind(out, window(layout, x, perm, starts, sizes), perm)
        start += size


def _slice(node: ir.Node, layout: Layouter) -> None:
    x = node.inputs[0]
    assert x is not None
    dims = layout.shape(x)
    begins, ends = constant_ints(node, layout, 1, "starts"), constant_ints(node, layout, 2, "ends")
    axes = optional_ints(node, layout, 3, "axes")
    axes = list(range(len(begins))) if axes is None else [axis % len(dims) for axis in axes]
    steps_given = optional_ints(node, layout, 4, "steps") or [1] * len(begins)
    starts, sizes, steps = [0] * len(dims), list(dims), [1] * len(dims)
    for axis, begin, end, step in zip(axes, begins, ends, steps_given, strict=True):
        positions = range(dims[axis])[slice(begin, _end(end, dims[axis], step), step)]
        if not positions:
            raise GraphError(
                f"{where(node)}: {begin}:{end}:{step} of axis {axis} with {dims[axis]} elements is empty"
            )
        starts[axis], sizes[axis], steps[axis] = positions[0], len(positions), step
    perm = layout.perm(x)
    if all(step == 1 or size == 1 for step, size in zip(steps, sizes, strict=True)):
        made = window(layout, x, perm, starts, sizes)
    else:
        source = layout.as_perm(x, perm)
        strides = dense_strides(shape(source))
        loops = [(sizes[axis], steps[axis] * stride) for axis, stride in zip(perm, strides, strict=True)]
        offset = sum(starts[axis] * stride for axis, stride in zip(perm, strides, strict=True))
        made = emit_copy(layout, source, loops, [sizes[axis] for axis in perm], offset)
    layout.bind(node.outputs[0], made, perm)


def _end(end: int, dim: int, step: int) -> int | None:
    # ONNX's end far below 0 means "to the very first element" when stepping back; Python's slice says None.
    return None if step < 0 and end < -dim else end
