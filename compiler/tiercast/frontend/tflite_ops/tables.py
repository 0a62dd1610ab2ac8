"""Quantized functions that LiteRT computes in 16-bit fixed point: as tables that give the very same integers.

A table is Gather(table, Cast(x)): index -1, of an int8, counts from the end: entries stand by the bits of x.
"""

from __future__ import annotations

import numpy as np

from tiercast.frontend.tflite_ops.arithmetic import broadcast
from tiercast.frontend.tflite_ops.builder import Value
from tiercast.frontend.tflite_ops.file import NUMPY, Operator, Quantization
from tiercast.frontend.tflite_ops.scope import Perm, Scope
from tiercast.frontend.tflite_ops.table import translates
from tiercast.frontend.tflite_ops.unary import np_to_onnx
from tiercast.ir.fixed_point import rounded_shift, scaled

_SHORT = (-(1 << 15), (1 << 15) - 1)


@translates("HARD_SWISH")
def hard_swish(scope: Scope, op: Operator) -> None:
    """x relu6(x + 3) / 6; of integers as TensorFlow Lite's reference_ops::HardSwish does."""
    x, out = op.inputs[0], op.outputs[0]
    perm = scope.perm(x)
    source, result = scope.quantized(x), scope.quantized(out)
    same = scope.tensor(x).kind == scope.tensor(out).kind
    usable = source and result and source.per_tensor and result.per_tensor
    if not (source and result and usable and same) or 0 in (source.scales[0], result.scales[0]):
        scope.put(out, scope.builder.emit("HardSwish", [scope.real(x, perm)]), perm)
        return
    table = hard_swish_table(source, result, np.dtype(NUMPY[scope.tensor(x).kind]))
    indices = scope.builder.emit("Cast", [scope.raw(x, perm)], to=np_to_onnx("INT32"))
    scope.bind(out, scope.builder.emit("Gather", [scope.builder.constant(table), indices], axis=0), perm)


@translates("SQUARED_DIFFERENCE", inputs=2)
def squared_difference(scope: Scope, op: Operator) -> None:
    """(a - b)^2; of int8 as TensorFlow Lite has it: operands in 64ths of the coarser step, rounded."""
    operands, perm = broadcast(scope, op.inputs)
    fine = _fine_steps(scope, op, perm)
    difference = scope.builder.emit("Sub", fine[0] if fine else operands)
    made = scope.builder.emit("Mul", [difference, difference])
    if fine:
        made = scope.builder.emit("Mul", [made, scope.builder.constant(fine[1] * fine[1], np.float32)])
    scope.put(op.outputs[0], made, perm)


def _fine_steps(scope: Scope, op: Operator, perm: Perm) -> tuple[list[Value], float] | None:
    """Both operands as whole f32 numbers of a common step, by tables; and the step."""
    ways = [scope.quantized(index) for index in op.inputs]
    kinds = {scope.tensor(index).kind for index in (*op.inputs, *op.outputs)}
    ranks = {len(scope.shape(index)) for index in op.inputs}
    if kinds != {"INT8"} or len(ranks) > 1:
        return None
    scales = [float(way.scales[0]) for way in ways if way is not None and way.per_tensor]
    if len(scales) < 2 or 0.0 in scales:
        return None
    step, made = 2.0 * max(scales) / 128, []
    for index, way in zip(op.inputs, ways, strict=True):
        steps = _in_steps(scope, index, perm, way, step) if way else None
        if steps is None:
            return None
        made.append(steps)
    return made, step


def _in_steps(scope: Scope, index: int, perm: Perm, way: Quantization, step: float) -> Value | None:
    """A tensor in steps of at least its own scale / 64, rounded in fixed point: by f32 arithmetic where that
    gives the same for each of the 256 integers, else by a table, which takes longer.
    """
    emit, constant = scope.builder.emit, scope.builder.constant
    x = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.int64) - int(way.zeros[0])
    factor = float(way.scales[0]) / (128 * step)
    steps = scaled(x * 128, np.float64(factor))
    if steps is None:
        return None
    bits = max(-int(np.frexp(factor)[1]), 0)  # that the shift takes off, in a second rounding
    first = np.float32(2.0**bits / step)
    second = np.float32(2.0**-bits * (1 + 2.0**-20))  # halves go away from zero
    real = x.astype(np.float32) * way.scales[0]
    if np.array_equal(np.rint(np.rint(real * first) * second), steps):
        fine = emit("Round", [emit("Mul", [scope.real(index, perm), constant(first)])])
        return emit("Round", [emit("Mul", [fine, constant(second)])])
    indices = emit("Cast", [scope.raw(index, perm)], to=np_to_onnx("INT32"))
    return emit("Gather", [constant(steps, np.float32), indices], axis=0)


def hard_swish_table(source: Quantization, result: Quantization, kind: np.dtype[np.int8]) -> np.ndarray:
    """256 results by the bits of x."""
    info = np.iinfo(kind)
    x = np.arange(256, dtype=np.uint8).view(kind).astype(np.int64) - int(source.zeros[0])
    fine = np.float32(1 / 128) * source.scales[0]
    scale, exponent = _short_multiplier(fine / result.scales[0])
    relu_scale, relu_exponent = _short_multiplier(fine / np.float32(3 / 32768))
    wide = x * 128
    relu = wide
    if relu_exponent > 0:
        relu = np.clip(relu << (relu_exponent - 1), *_SHORT)
    relu = _rounded_high_product(relu, relu_scale)
    if relu_exponent > 0:
        relu = np.clip(relu << 1, *_SHORT)
    relu = (rounded_shift(relu, -relu_exponent) + (1 << 15)) >> 1
    product = relu * _rounded_high_product(wide, scale)
    high = np.sign(product) * (np.abs(product) >> 15)  # towards zero
    made = rounded_shift(high, -exponent) + int(result.zeros[0])
    table: np.ndarray = np.clip(made, info.min, info.max).astype(kind)
    return table


def _short_multiplier(real: np.floating) -> tuple[int, int]:
    """(a 16-bit fraction m, an exponent e) with real = m / 2^15 * 2^e."""
    fraction, exponent = np.frexp(float(real))
    whole = int(np.floor(fraction * (1 << 31) + 0.5))
    if whole == 1 << 31:
        whole, exponent = whole >> 1, exponent + 1
    return min((whole + (1 << 15)) >> 16, _SHORT[1]), int(exponent)


def _rounded_high_product(values: np.ndarray, factor: int) -> np.ndarray:
    """values * factor / 2^15, rounded to the nearest, kept within 16 bits (gemmlowp's)."""
    product = values * factor
    rounded = product + np.where(product >= 0, 1 << 14, 1 - (1 << 14))
    high: np.ndarray = np.clip(np.sign(rounded) * (np.abs(rounded) >> 15), *_SHORT)
    return high
