"""Operators that only name, regroup or repeat elements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tiercast.errors import ModelError
from tiercast.frontend.tflite_ops.builder import Value
from tiercast.frontend.tflite_ops.file import Operator
from tiercast.frontend.tflite_ops.scope import CHANNELS_FIRST, Perm, Scope
from tiercast.frontend.tflite_ops.table import activation, options, translates
from tiercast.frontend.tflite_ops.unary import np_to_onnx, tensor_kind

MAX_RANGE = 1 << 24


def stored(scope: Scope, x: int, out: int, perm: Sequence[int] | None = None) -> Value:
    """What an operator that only moves elements reads: the stored ones where the result has their scale."""
    return scope.raw(x, perm) if scope.same_scale(x, out) else scope.real(x, perm)


def keep(scope: Scope, x: int, out: int, value: Value, perm: Sequence[int] | None = None) -> None:
    """Declares the result of moving `stored` elements."""
    if scope.same_scale(x, out):
        scope.bind(out, value, perm)
    else:
        scope.put(out, value, perm)


@translates("RESHAPE")
def reshape(scope: Scope, op: Operator) -> None:
    """The shape is an operand, or in old files an option."""
    x, out, given = op.inputs[0], op.outputs[0], scope.given(op, 1)
    if given is not None:
        dims = scope.numbers(given, "the new shape")
    else:
        dims = [int(dim) for dim in options(op, "ReshapeOptions").get("NewShape", [])]
    keep(scope, x, out, scope.reshaped(stored(scope, x, out), _resolved(scope, x, out, dims)))


def _resolved(scope: Scope, x: int, out: int, dims: list[int]) -> list[int]:
    size = int(np.prod(scope.shape(x), dtype=np.int64))
    if dims.count(-1) == 1:
        known = int(np.prod([dim for dim in dims if dim != -1], dtype=np.int64))
        dims = [size // known if dim == -1 and known else dim for dim in dims]
    elif dims and int(np.prod(dims, dtype=np.int64)) != size and 0 in scope.tensor(out).open_axes:
        rest = int(np.prod(dims[1:], dtype=np.int64))  # the batch was baked in for the file's own shape
        dims = [size // rest if rest else 0, *dims[1:]]
    if min(dims, default=1) < 0 or int(np.prod(dims, dtype=np.int64)) != size:
        raise ModelError(f"{scope.shape(x)} can't be reshaped to {dims}")
    return dims


@translates("SQUEEZE")
def squeeze(scope: Scope, op: Operator) -> None:
    """Removes the unit axes that are named, or all."""
    x, out = op.inputs[0], op.outputs[0]
    dims = scope.shape(x)
    named = {axis_of(int(axis), len(dims)) for axis in options(op, "SqueezeOptions")["SqueezeDims"]}
    gone = named or {axis for axis, dim in enumerate(dims) if dim == 1}
    if any(dims[axis] != 1 for axis in gone):
        raise ModelError(f"axes {sorted(gone)} of {dims} are not all 1")
    kept = [dim for axis, dim in enumerate(dims) if axis not in gone]
    keep(scope, x, out, scope.reshaped(stored(scope, x, out), kept))


@translates("EXPAND_DIMS", inputs=2)
def expand_dims(scope: Scope, op: Operator) -> None:
    """A new unit axis."""
    x, out = op.inputs[0], op.outputs[0]
    dims = list(scope.shape(x))
    (axis,) = scope.numbers(op.inputs[1], "the axis")
    dims.insert(axis + len(dims) + 1 if axis < 0 else axis, 1)
    keep(scope, x, out, scope.reshaped(stored(scope, x, out), dims))


@translates("TRANSPOSE", inputs=2)
def transpose(scope: Scope, op: Operator) -> None:
    """Costs nothing by itself: only the order of axes is noted."""
    x, out = op.inputs[0], op.outputs[0]
    order = scope.numbers(op.inputs[1], "the permutation")
    rank = len(scope.shape(x))
    if sorted(order) != list(range(rank)):
        raise ModelError(f"{order} is no permutation of {rank} axes")
    keep(scope, x, out, scope.builder.emit("Transpose", [stored(scope, x, out)], perm=order))


@translates("CONCATENATION")
def concatenation(scope: Scope, op: Operator) -> None:
    """Pieces of other scales than the result's are requantized."""
    chosen = options(op, "ConcatenationOptions")
    out, rank = op.outputs[0], len(scope.shape(op.inputs[0]))
    axis = axis_of(int(chosen["Axis"]), rank)
    perm = scope.common_perm(op.inputs, rank)
    same = activation(chosen) == "NONE" and all(scope.same_scale(index, out) for index in op.inputs)
    full = [index for index in op.inputs if 0 not in scope.shape(index)] or list(op.inputs[:1])
    pieces = [scope.raw(index, perm) if same else scope.real(index, perm) for index in full]
    made = scope.builder.emit("Concat", pieces, axis=perm.index(axis)) if len(pieces) > 1 else pieces[0]
    if same:
        scope.bind(out, made, perm)
    else:
        scope.put(out, made, perm, activation(chosen))


@translates("PACK")
def pack(scope: Scope, op: Operator) -> None:
    """Stacks tensors along a new axis."""
    chosen, out = options(op, "PackOptions"), op.outputs[0]
    dims = list(scope.shape(op.inputs[0]))
    axis = axis_of(int(chosen["Axis"]), len(dims) + 1)
    same = all(scope.same_scale(index, out) for index in op.inputs)
    wide = [*dims[:axis], 1, *dims[axis:]]
    pieces = [scope.reshaped(scope.raw(index) if same else scope.real(index), wide) for index in op.inputs]
    made = scope.builder.emit("Concat", pieces, axis=axis)
    (scope.bind if same else scope.put)(out, made)


@translates("UNPACK")
def unpack(scope: Scope, op: Operator) -> None:
    """Takes a tensor apart along an axis, which vanishes."""
    x = op.inputs[0]
    dims = scope.shape(x)
    axis = axis_of(int(options(op, "UnpackOptions")["Axis"]), len(dims))
    if dims[axis] != len(op.outputs):
        raise ModelError(f"axis {axis} of {dims} does not make {len(op.outputs)} tensors")
    rest = [dim for at, dim in enumerate(dims) if at != axis]
    for piece, out in zip(_split(scope, scope.raw(x), axis, [1] * dims[axis]), op.outputs, strict=True):
        scope.bind(out, scope.reshaped(piece, rest))


@translates("SPLIT", "SPLIT_V", inputs=2)
def split(scope: Scope, op: Operator) -> None:
    """Equal parts, or parts of given lengths (one of them may be -1: the rest)."""
    versed = op.kind == "SPLIT_V"
    x, axis_index = (op.inputs[0], op.inputs[2]) if versed else (op.inputs[1], op.inputs[0])
    dims = scope.shape(x)
    axis = axis_of(scope.numbers(axis_index, "the axis")[0], len(dims))
    if versed:
        sizes = scope.numbers(op.inputs[1], "the sizes")
        rest = dims[axis] - sum(size for size in sizes if size != -1)
        sizes = [rest if size == -1 else size for size in sizes]
    else:
        sizes = [dims[axis] // max(len(op.outputs), 1)] * len(op.outputs)
    if sum(sizes) != dims[axis] or len(sizes) != len(op.outputs) or min(sizes) < 0:
        raise ModelError(f"axis {axis} of {dims} does not split into {sizes}")
    perm = scope.perm(x)
    pieces = _split(scope, scope.raw(x, perm), perm.index(axis), sizes)
    for piece, out in zip(pieces, op.outputs, strict=True):
        scope.bind(out, piece, perm)


def _split(scope: Scope, value: Value, axis: int, sizes: Sequence[int]) -> list[Value]:
    if len(sizes) == 1:
        return [value]
    operands = [value, scope.builder.ints(sizes)]
    return scope.builder.emit_many("Split", operands, len(sizes), axis=axis)


@translates("TILE", inputs=2)
def tile(scope: Scope, op: Operator) -> None:
    """Repeats along each axis."""
    x, out = op.inputs[0], op.outputs[0]
    times = scope.numbers(op.inputs[1], "the repeats")
    perm = scope.perm(x)
    operands = [stored(scope, x, out, perm), scope.builder.ints([times[axis] for axis in perm])]
    keep(scope, x, out, scope.builder.emit("Tile", operands), perm)


@translates("BROADCAST_TO", inputs=2)
def broadcast_to(scope: Scope, op: Operator) -> None:
    """Repeats unit axes."""
    x, out = op.inputs[0], op.outputs[0]
    dims = scope.numbers(op.inputs[1], "the shape")
    value = scope.builder.emit("Expand", [stored(scope, x, out), scope.builder.ints(dims)])
    keep(scope, x, out, value)


@translates("BROADCAST_ARGS", inputs=2)
def broadcast_args(scope: Scope, op: Operator) -> None:
    """The shape to which two shapes broadcast."""
    first, second = (scope.numbers(index, "a shape") for index in op.inputs[:2])
    try:
        dims = np.broadcast_shapes(tuple(first), tuple(second))
    except ValueError as error:
        raise ModelError(f"shapes {first} and {second} do not broadcast") from error
    scope.bind(op.outputs[0], scope.builder.constant(np.asarray(dims), scope.raw(op.inputs[0]).dtype))


@translates("SHAPE", "RANK")
def shape(scope: Scope, op: Operator) -> None:
    """A constant, because shapes are fixed when the model is compiled."""
    dims = scope.shape(op.inputs[0])
    if op.kind == "RANK":
        scope.bind(op.outputs[0], scope.builder.constant(len(dims), np.int32))
        return
    kind = np.int64 if tensor_kind(options(op, "ShapeOptions")["OutType"]) == "INT64" else np.int32
    scope.bind(op.outputs[0], scope.builder.constant(np.asarray(dims), kind))


@translates("FILL", inputs=2)
def fill(scope: Scope, op: Operator) -> None:
    """One number in a constant shape."""
    dims = scope.numbers(op.inputs[0], "the shape")
    made = scope.builder.emit("Expand", [scope.raw(op.inputs[1]), scope.builder.ints(dims)])
    scope.bind(op.outputs[0], made)


@translates("RANGE", inputs=3)
def range_of(scope: Scope, op: Operator) -> None:
    """start, start + step, ... below the limit; all three constant."""
    start, limit, step = (
        scope.constant(index, "a limit of the range").reshape(()) for index in op.inputs[:3]
    )
    if step == 0:
        raise ModelError("the range's step is 0")
    if not 0 <= (limit - start) / step <= MAX_RANGE:
        raise ModelError(f"the range {start}, {start + step}, ... {limit} has not 0 to {MAX_RANGE} elements")
    numbers = np.arange(start.item(), limit.item(), step.item())
    scope.bind(op.outputs[0], scope.builder.constant(numbers, start.dtype))


@translates("SPACE_TO_DEPTH", "DEPTH_TO_SPACE")
def blocks(scope: Scope, op: Operator) -> None:
    """Square blocks of pixels become channels, or back; the order is ONNX's DCR."""
    x, out = op.inputs[0], op.outputs[0]
    space = op.kind == "SPACE_TO_DEPTH"
    block = int(options(op, "SpaceToDepthOptions" if space else "DepthToSpaceOptions")["BlockSize"])
    if block < 1 or len(scope.shape(x)) != 4:
        raise ModelError(
            f"blocks of {block} in {scope.shape(x)}: an image and a block of at least 1 are needed"
        )
    value = stored(scope, x, out, CHANNELS_FIRST)
    made = scope.builder.emit("SpaceToDepth" if space else "DepthToSpace", [value], blocksize=block)
    keep(scope, x, out, made, CHANNELS_FIRST)


def last_axis(perm: Perm) -> int:
    """Where a value in `perm` has TFLite's last axis; ModelError for a scalar."""
    if not perm:
        raise ModelError("a scalar has no last axis")
    return perm.index(len(perm) - 1)


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front; ModelError when the rank has no such axis."""
    if not -rank <= axis < rank:
        raise ModelError(f"there is no axis {axis} in {rank} dimensions")
    return axis % rank


def cast(scope: Scope, value: Value, kind: str) -> Value:
    """The value in another element type (TensorType's name)."""
    to = np_to_onnx(kind)
    return value if np_to_onnx_of(value) == to else scope.builder.emit("Cast", [value], to=to)


def np_to_onnx_of(value: Value) -> int:
    """ONNX's number of a value's element type."""
    import onnx

    return int(onnx.helper.np_dtype_to_tensor_dtype(value.dtype))
