"""Operators that cut, pad and reverse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tflite

from tiercast.errors import ModelError
from tiercast.frontend.tflite_ops.builder import Value
from tiercast.frontend.tflite_ops.file import Operator
from tiercast.frontend.tflite_ops.scope import Scope
from tiercast.frontend.tflite_ops.shapes import axis_of, keep, stored
from tiercast.frontend.tflite_ops.table import enum_name, options, translates

MAX_MIRRORED = 1 << 20


@translates("SLICE", inputs=3)
def slice_of(scope: Scope, op: Operator) -> None:
    """`size` elements from `begin` on; size -1 means the rest."""
    x, out = op.inputs[0], op.outputs[0]
    dims, perm = scope.shape(x), scope.perm(x)
    begins, sizes = scope.numbers(op.inputs[1], "the begin"), scope.numbers(op.inputs[2], "the size")
    if not len(begins) == len(sizes) == len(dims):
        raise ModelError(f"begin {begins} and size {sizes} do not fit {dims}")
    ends = [dim if size == -1 else begin + size for begin, size, dim in zip(begins, sizes, dims, strict=True)]
    if any(not 0 <= begin <= end <= dim for begin, end, dim in zip(begins, ends, dims, strict=True)):
        raise ModelError(f"begin {begins} and size {sizes} leave {dims}")
    value = stored(scope, x, out, perm)
    made = cut(scope, value, [begins[a] for a in perm], [ends[a] for a in perm], [1] * len(dims))
    keep(scope, x, out, made, perm)


def cut(
    scope: Scope, value: Value, begins: Sequence[int], ends: Sequence[int], steps: Sequence[int]
) -> Value:
    """value[begin:end:step] of every axis that changes."""
    axes = [
        axis
        for axis, dim in enumerate(value.shape)
        if (begins[axis], steps[axis]) != (0, 1) or ends[axis] < dim
    ]
    if not axes:
        return value
    lengths = [len(range(dim)[slice(*bounds)]) for dim, bounds in _spans(value, begins, ends, steps)]
    if 0 in lengths:  # nothing at all, as before the first element of a list: no operator is needed
        return scope.builder.constant(np.zeros(lengths, value.dtype))
    operands = [[vector[axis] for axis in axes] for vector in (begins, ends)]
    ints = scope.builder.ints
    return scope.builder.emit(
        "Slice", [value, *(ints(item) for item in operands), ints(axes), ints([steps[a] for a in axes])]
    )


def _spans(
    value: Value, begins: Sequence[int], ends: Sequence[int], steps: Sequence[int]
) -> list[tuple[int, tuple[int, int | None, int]]]:
    """(dimension, (begin, end, step)) of each axis, as Python's slices say it."""
    return [
        (dim, (begin, None if step < 0 and end < -dim else end, step))
        for dim, begin, end, step in zip(value.shape, begins, ends, steps, strict=True)
    ]


@translates("STRIDED_SLICE", inputs=4)
def strided_slice(scope: Scope, op: Operator) -> None:
    """Python's slicing, spread over masks: new axes, an ellipsis, axes that an index removes."""
    x, out = op.inputs[0], op.outputs[0]
    names = ("the begin", "the end", "the strides")
    begins, ends, steps = (
        scope.numbers(index, name) for index, name in zip(op.inputs[1:4], names, strict=True)
    )
    chosen = options(op, "StridedSliceOptions")
    if not len(begins) == len(ends) == len(steps) or 0 in steps:
        raise ModelError(f"begin {begins}, end {ends} and strides {steps} do not fit together")
    dims = scope.shape(x)
    entries = _entries(chosen, begins, ends, steps, len(dims))
    kept: list[int] = []
    low, high, pace = [0] * len(dims), list(dims), [1] * len(dims)
    axis = 0
    for entry in entries:
        if entry is None:  # a new axis
            kept.append(1)
            continue
        begin, end, step, removed = entry
        if axis >= len(dims):
            raise ModelError(f"it slices more axes than {dims} has")
        if removed:
            index = begin + dims[axis] if begin < 0 else begin
            if not 0 <= index < dims[axis]:
                raise ModelError(f"index {begin} is not in axis {axis} of {dims}")
            low[axis], high[axis] = index, index + 1
        else:
            positions = range(dims[axis])[slice(begin, end, step)]
            kept.append(len(positions))
            low[axis], pace[axis] = positions.start, step
            high[axis] = positions.stop if positions.stop >= 0 else -dims[axis] - 1
            if not positions:
                low[axis], high[axis], pace[axis] = 0, 0, 1
        axis += 1
    if axis < len(dims):
        raise ModelError(f"it slices {axis} axes of {dims}")
    plain = kept == [
        len(range(dims[a])[slice(low[a], high[a] if high[a] >= 0 else None, pace[a])])
        for a in range(len(dims))
    ]
    perm = scope.perm(x) if plain else tuple(range(len(dims)))
    value = stored(scope, x, out, perm)
    made = cut(scope, value, *([vector[a] for a in perm] for vector in (low, high, pace)))
    keep(scope, x, out, made if plain else scope.reshaped(made, kept), perm if plain else None)


_Entry = tuple[int | None, int | None, int, bool]


def _entries(
    chosen: Mapping[str, Any], begins: Sequence[int], ends: Sequence[int], steps: Sequence[int], rank: int
) -> list[Any]:
    """One (begin, end, step, removed) per axis of the input, and None for each new axis, in order."""

    def bit(name: str, at: int) -> bool:
        return bool(int(chosen[name]) >> at & 1)

    new = sum(bit("NewAxisMask", at) and not bit("EllipsisMask", at) for at in range(len(begins)))
    dots = [at for at in range(len(begins)) if bit("EllipsisMask", at)]
    if len(dots) > 1:
        raise ModelError("it has more than one ellipsis")
    spanned = rank - (len(begins) - new - len(dots))
    made: list[Any] = []
    for at in range(len(begins)):
        if at in dots:
            made += [(None, None, 1, False)] * max(spanned, 0)
        elif bit("NewAxisMask", at):
            made.append(None)
        elif bit("ShrinkAxisMask", at):
            made.append((begins[at], None, 1, True))
        else:
            begin = None if bit("BeginMask", at) else begins[at]
            if bool(chosen.get("Offset")) and begin is not None and not bit("EndMask", at):
                made.append((begin, begin + ends[at], steps[at], False))
            else:
                made.append((begin, None if bit("EndMask", at) else ends[at], steps[at], False))
    return made if dots else made + [(None, None, 1, False)] * max(spanned, 0)


@translates("PAD", "PADV2", inputs=2)
def pad(scope: Scope, op: Operator) -> None:
    """Constant padding: zero, or for PADV2 a given number."""
    x, out = op.inputs[0], op.outputs[0]
    perm, pads = _pads(scope, op)
    value = scope.real(x, perm)
    if op.kind == "PAD":
        fill = scope.builder.constant(0, value.dtype)
    else:
        fill = scope.reshaped(scope.real(op.inputs[2]), ())
    scope.put(out, scope.builder.emit("Pad", [value, scope.builder.ints(pads), fill], mode="constant"), perm)


@translates("MIRROR_PAD", inputs=2)
def mirror_pad(scope: Scope, op: Operator) -> None:
    """Mirrored about the border's pixels (REFLECT), or about the border itself (SYMMETRIC)."""
    x, out = op.inputs[0], op.outputs[0]
    perm, pads = _pads(scope, op)
    value = stored(scope, x, out, perm)
    mode = enum_name(tflite.MirrorPadMode, options(op, "MirrorPadOptions")["Mode"])
    if mode == "REFLECT":
        made = scope.builder.emit("Pad", [value, scope.builder.ints(pads)], mode="reflect")
    else:
        made = _symmetric(scope, value, pads)
    keep(scope, x, out, made, perm)


def _symmetric(scope: Scope, value: Value, pads: Sequence[int]) -> Value:
    """ONNX has no such mode: the mirrored borders are gathered."""
    rank = len(value.shape)
    for axis, dim in enumerate(list(value.shape)):
        before, after = pads[axis], pads[axis + rank]
        if max(before, after) > dim:
            raise ModelError(f"it mirrors {max(before, after)} elements of an axis with {dim}")
        if before or after:
            if before + dim + after > MAX_MIRRORED:
                raise ModelError(f"an axis of {dim} is mirrored to more than {MAX_MIRRORED}")
            order = np.pad(np.arange(dim), (before, after), mode="symmetric")
            value = scope.builder.emit("Gather", [value, scope.builder.constant(order)], axis=axis)
    return value


def _pads(scope: Scope, op: Operator) -> tuple[tuple[int, ...], list[int]]:
    """(the order of the operand, ONNX's pads in that order)."""
    x = op.inputs[0]
    table = scope.constant(op.inputs[1], "the padding")
    perm = scope.perm(x)
    if table.shape != (len(perm), 2) or table.min(initial=0) < 0:
        raise ModelError(f"paddings {table.tolist()} do not fit {scope.shape(x)}")
    return perm, [int(table[axis, end]) for end in (0, 1) for axis in perm]


@translates("REVERSE_V2", inputs=2)
def reverse(scope: Scope, op: Operator) -> None:
    """Turns axes round."""
    x, out = op.inputs[0], op.outputs[0]
    perm = scope.perm(x)
    axes = [perm.index(axis_of(axis, len(perm))) for axis in scope.numbers(op.inputs[1], "the axes")]
    ints = scope.builder.ints
    dims = scope.raw(x, perm).shape
    operands = [stored(scope, x, out, perm), ints([-1] * len(axes)), ints([-dims[a] - 1 for a in axes])]
    keep(scope, x, out, scope.builder.emit("Slice", [*operands, ints(axes), ints([-1] * len(axes))]), perm)


@translates("DYNAMIC_UPDATE_SLICE", inputs=3)
def dynamic_update_slice(scope: Scope, op: Operator) -> None:
    """Overwrites a window at a constant place."""
    x, update, starts_index = op.inputs[:3]
    dims, window = scope.shape(x), scope.shape(update)
    starts = scope.numbers(starts_index, "the place")
    if not len(starts) == len(dims) == len(window):
        raise ModelError(f"a window of {window} at {starts} does not fit {dims}")
    starts = [min(max(start, 0), dim - size) for start, dim, size in zip(starts, dims, window, strict=True)]
    value, piece = scope.real(x), scope.real(update)
    for axis in range(len(dims)):
        if window[axis] == dims[axis]:
            continue
        if any(window[other] != dims[other] for other in range(len(dims)) if other != axis):
            raise ModelError(
                f"a window of {window} in {dims} is smaller along several axes; one is supported"
            )
        low, high = [0] * len(dims), list(dims)
        high[axis] = starts[axis]
        before = cut(scope, value, low, high, [1] * len(dims))
        low[axis], high[axis] = starts[axis] + window[axis], dims[axis]
        after = cut(scope, value, low, high, [1] * len(dims))
        pieces = [item for item in (before, piece, after) if np.prod(item.shape)]
        piece = scope.builder.emit("Concat", pieces, axis=axis)
        break
    scope.put(op.outputs[0], piece)
