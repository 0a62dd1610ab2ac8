"""Sums, extrema and normalisations along axes."""

from __future__ import annotations

import numpy as np

from tiercast.errors import ModelError
from tiercast.frontend.tflite_ops.file import Operator
from tiercast.frontend.tflite_ops.scope import CHANNELS_FIRST, Perm, Scope
from tiercast.frontend.tflite_ops.shapes import axis_of, cast, last_axis
from tiercast.frontend.tflite_ops.table import options, translates
from tiercast.frontend.tflite_ops.unary import tensor_kind
from tiercast.ir.rounding import BIASED, BIASED_U8, ROUNDING

_REDUCTIONS = {
    "MEAN": "ReduceMean",
    "SUM": "ReduceSum",
    "REDUCE_MAX": "ReduceMax",
    "REDUCE_MIN": "ReduceMin",
    "REDUCE_PROD": "ReduceProd",
    "REDUCE_ANY": "ReduceMax",
    "REDUCE_ALL": "ReduceMin",
}


@translates(*_REDUCTIONS, inputs=2)
def reduce(scope: Scope, op: Operator) -> None:
    """Over constant axes, which stay as 1 or vanish."""
    x, out = op.inputs[0], op.outputs[0]
    rank = len(scope.shape(x))
    axes = sorted({axis_of(axis, rank) for axis in scope.numbers(op.inputs[1], "the axes")}) if rank else []
    keeps = bool(options(op, "ReducerOptions")["KeepDims"])
    perm = _reduced_in(scope, x, axes)
    if not axes:
        scope.put(out, scope.real(x, perm), perm)
        return
    operands = [scope.real(x, perm), scope.builder.ints([perm.index(axis) for axis in axes])]
    made = scope.builder.emit(_REDUCTIONS[op.kind], operands, keepdims=int(keeps))
    if op.kind == "MEAN" and scope.quantized(x) is not None and scope.quantized(out) is not None:
        scope.builder.mark(made, ROUNDING, BIASED_U8 if scope.tensor(x).kind == "UINT8" else BIASED)
    kept = [axis for axis in range(rank) if axis not in axes]
    scope.put(out, made, perm if keeps else [kept.index(axis) for axis in perm if axis in kept])


def _reduced_in(scope: Scope, x: int, axes: list[int]) -> Perm:
    """The order that x has; TFLite's own where channels are reduced: so layer norms are found.

    An image that is reduced to one pixel is one in ONNX's order: that is a pool.
    """
    perm = scope.perm(x)
    if len(perm) == 4 and axes == [1, 2]:
        return CHANNELS_FIRST
    return tuple(range(len(perm))) if axes == [len(perm) - 1] else perm


@translates("SOFTMAX", "LOG_SOFTMAX")
def softmax(scope: Scope, op: Operator) -> None:
    """Along the last axis, of beta times x."""
    x, out = op.inputs[0], op.outputs[0]
    perm = scope.perm(x)
    value = scope.real(x, perm)
    beta = float(options(op, "SoftmaxOptions")["Beta"]) if op.kind == "SOFTMAX" else 1.0
    if beta != 1.0:
        value = scope.builder.emit("Mul", [value, scope.builder.constant(beta, value.dtype)])
    onnx_type = "Softmax" if op.kind == "SOFTMAX" else "LogSoftmax"
    scope.put(out, scope.builder.emit(onnx_type, [value], axis=last_axis(perm)), perm)


@translates("L2_NORMALIZATION")
def l2_normalization(scope: Scope, op: Operator) -> None:
    """x / max(|x|, 1e-6) along the last axis."""
    x = op.inputs[0]
    perm, emit = scope.perm(x), scope.builder.emit
    value = scope.real(x, perm)
    axes = scope.builder.ints([last_axis(perm)])
    length = emit("ReduceL2", [value, axes], keepdims=1)
    floored = emit("Max", [length, scope.builder.constant(1e-6, value.dtype)])
    scope.put(op.outputs[0], emit("Div", [value, floored]), perm)


@translates("LOCAL_RESPONSE_NORMALIZATION")
def local_response_normalization(scope: Scope, op: Operator) -> None:
    """x / (bias + alpha * sum of squares of near channels)^beta; ONNX divides alpha by their count."""
    x, chosen = op.inputs[0], options(op, "LocalResponseNormalizationOptions")
    if len(scope.shape(x)) != 4:
        raise ModelError(f"{scope.shape(x)} is no image")
    size = 2 * int(chosen["Radius"]) + 1
    made = scope.builder.emit(
        "LRN",
        [scope.real(x, CHANNELS_FIRST)],
        size=size,
        bias=float(chosen["Bias"]),
        alpha=float(chosen["Alpha"]) * size,
        beta=float(chosen["Beta"]),
    )
    scope.put(op.outputs[0], made, CHANNELS_FIRST)


@translates("ARG_MAX", "ARG_MIN", inputs=2)
def arg_extremum(scope: Scope, op: Operator) -> None:
    """The first of equals, as s32 or s64."""
    x, out = op.inputs[0], op.outputs[0]
    table = "ArgMaxOptions" if op.kind == "ARG_MAX" else "ArgMinOptions"
    kind = tensor_kind(options(op, table)["OutputType"])
    rank = len(scope.shape(x))
    axis = axis_of(scope.numbers(op.inputs[1], "the axis")[0], rank)
    perm = scope.perm(x)
    onnx_type = "ArgMax" if op.kind == "ARG_MAX" else "ArgMin"
    found = scope.builder.emit(onnx_type, [scope.raw(x, perm)], axis=perm.index(axis), keepdims=0)
    kept = [at for at in range(rank) if at != axis]
    made = cast(scope, found, "INT64" if kind == "INT64" else "INT32")
    scope.bind(out, made, [kept.index(at) for at in perm if at != axis])


@translates("CUMSUM", inputs=2)
def cumsum(scope: Scope, op: Operator) -> None:
    """Running sums, optionally without the element itself or from the end."""
    x, chosen = op.inputs[0], options(op, "CumsumOptions")
    perm = scope.perm(x)
    axis = axis_of(scope.numbers(op.inputs[1], "the axis")[0], len(perm))
    made = scope.builder.emit(
        "CumSum",
        [scope.real(x, perm), scope.builder.constant(perm.index(axis), np.int64)],
        exclusive=int(chosen["Exclusive"]),
        reverse=int(chosen["Reverse"]),
    )
    scope.put(op.outputs[0], made, perm)


@translates("TOPK_V2", inputs=2)
def topk(scope: Scope, op: Operator) -> None:
    """The k largest along the last axis, sorted, and their positions as s32."""
    x = op.inputs[0]
    (count,) = scope.numbers(op.inputs[1], "k")
    perm = scope.perm(x)
    values, places = scope.builder.emit_many(
        "TopK", [scope.raw(x, perm), scope.builder.ints([count])], 2, axis=last_axis(perm)
    )
    scope.bind(op.outputs[0], values, perm)
    scope.bind(op.outputs[1], cast(scope, places, "INT32"), perm)
