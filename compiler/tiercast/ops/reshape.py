"""Reshape: the same elements under another shape, for free; ONNX reshapes that only regroup axes keep a
permuted order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.copy import constant_ints, optional_ints
from tiercast.ops.layouter import Layouter, Perm
from tiercast.ops.registry import REQUIRED, Op, attr, dtype, shape, where


class Reshape(Op):
    """y = x under `shape` (same elements in memory order). Planned in place by `lower/`; dense x only."""

    onnx = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout")
    inputs = ("x",)
    half = True
    attributes: ClassVar = {"shape": REQUIRED}

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """Keeps the lazy perm where the reshape merges and splits only axes that lie together in memory."""
        x, out = node.inputs[0], node.outputs[0]
        assert x is not None
        if node.op_type == "Dropout" and _trains(node, layout):
            raise GraphError(f"{where(node)}: training_mode is set; export the model in evaluation mode")
        for mask in node.outputs[1:]:  # of Dropout, which keeps everything
            layout.bind(mask, layout.constant(np.ones(layout.shape(x), np.bool_), mask.name or "mask"))
        dims = _target_shape(node, layout, layout.shape(x))
        perm = layout.perm(x)
        regrouped = regroup(layout.shape(x), dims, perm)
        if regrouped is None:
            layout.bind(out, layout.alias(layout.plain(x), dims))
        else:
            layout.bind(
                out, layout.alias(layout.as_perm(x, perm), [dims[axis] for axis in regrouped]), regrouped
            )

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """`shape`, which must hold as many elements as x."""
        (x,) = node.inputs
        assert x is not None
        dims = tuple(int(dim) for dim in attr(node, "shape"))
        if math.prod(dims) != math.prod(shape(x)):
            raise GraphError(f"{where(node)}: {shape(x)} and {dims} do not hold equally many elements")
        return [(dtype(x), dims)]


def regroup(old: Sequence[int], new: Sequence[int], perm: Perm) -> Perm | None:
    """The perm of a value reshaped old -> new whose memory is in `perm`, or None when the memory would
    have to move.

    Axes of old and new fall into the smallest runs of equal product; the reshape is free when every run's
    axes stand
    together and in order in memory: [N,C,H,W] held as NHWC -> [N,C,H*W] held as N,HW,C.
    """
    memory = [axis for axis in perm if old[axis] != 1]
    made: list[int] = []
    runs = {
        next(axis for axis in before if old[axis] != 1): (before, after)
        for before, after in _runs(old, new)
        if before
    }
    at = 0
    while at < len(memory):
        if memory[at] not in runs:
            return None
        before, after = runs[memory[at]]
        moving = [axis for axis in before if old[axis] != 1]
        if memory[at : at + len(moving)] != moving:
            return None
        made += after
        at += len(moving)
    # Unit axes may stand anywhere; keep each beside its logical left neighbour.
    for axis in range(len(new)):
        if axis not in made:
            made.insert(made.index(axis - 1) + 1 if axis else 0, axis)
    return tuple(made)


def _runs(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Pairs of axis lists of equal product, smallest first; unit axes of `new` are left out."""
    runs: list[tuple[list[int], list[int]]] = []
    left = [axis for axis, dim in enumerate(old) if dim != 1]
    right = [axis for axis, dim in enumerate(new) if dim != 1]
    while left and right:
        before, after = [left.pop(0)], [right.pop(0)]
        have, want = old[before[0]], new[after[0]]
        while have != want:
            if have < want:
                before.append(left.pop(0))
                have *= old[before[-1]]
            else:
                after.append(right.pop(0))
                want *= new[after[-1]]
        runs.append((before, after))
    return runs


def _trains(node: ir.Node, layout: Layouter) -> bool:
    value = node.inputs[2] if len(node.inputs) > 2 else None
    array = layout.const(value) if value is not None else None
    return value is not None and (array is None or bool(array.reshape(-1)[0]))


def _target_shape(node: ir.Node, layout: Layouter, dims: tuple[int, ...]) -> tuple[int, ...]:
    if node.op_type == "Reshape":
        return _reshaped(node, dims, constant_ints(node, layout, 1, "shape"))
    if node.op_type == "Flatten":
        axis = int(attr(node, "axis", 1))
        axis += len(dims) if axis < 0 else 0
        return (math.prod(dims[:axis]), math.prod(dims[axis:]))
    if node.op_type == "Squeeze":
        given = optional_ints(node, layout, 1, "axes")
        axes = (
            {axis % len(dims) for axis in given}
            if given is not None
            else {at for at, dim in enumerate(dims) if dim == 1}
        )
        return tuple(dim for at, dim in enumerate(dims) if at not in axes)
    if node.op_type == "Unsqueeze":
        given = constant_ints(node, layout, 1, "axes")
        axes = {axis % (len(dims) + len(given)) for axis in given}
        rest = iter(dims)
        return tuple(1 if at in axes else next(rest) for at in range(len(dims) + len(given)))
    return dims


def _reshaped(node: ir.Node, dims: tuple[int, ...], wanted: Sequence[int]) -> tuple[int, ...]:
    keeps = not attr(node, "allowzero", 0)
    made = [dims[at] if dim == 0 and keeps else dim for at, dim in enumerate(wanted)]
    known = math.prod(dim for dim in made if dim != -1)
    return tuple(math.prod(dims) // known if dim == -1 else dim for dim in made)
