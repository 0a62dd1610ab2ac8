"""Functions of one tensor, element by element."""

from __future__ import annotations

import numpy as np
import tflite

from tiercast.errors import ModelError
from tiercast.frontend.tflite_ops.file import NUMPY, Operator
from tiercast.frontend.tflite_ops.scope import Scope
from tiercast.frontend.tflite_ops.table import enum_name, options, translates
from tiercast.ir.rounding import FIXED_POINT, ROUNDING

_PLAIN = {
    "ABS": "Abs",
    "CEIL": "Ceil",
    "COS": "Cos",
    "EXP": "Exp",
    "FLOOR": "Floor",
    "LOG": "Log",
    "LOGICAL_NOT": "Not",
    "LOGISTIC": "Sigmoid",
    "NEG": "Neg",
    "ROUND": "Round",  # both to the nearest even number
    "SIGN": "Sign",
    "SIN": "Sin",
    "SQRT": "Sqrt",
    "TANH": "Tanh",
    "ELU": "Elu",
}
_ACTIVATIONS = ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1")


@translates(*_PLAIN)
def plain(scope: Scope, op: Operator) -> None:
    """Operators whose ONNX namesake does the same."""
    x, out = op.inputs[0], op.outputs[0]
    perm = scope.perm(x)
    scope.put(out, scope.builder.emit(_PLAIN[op.kind], [scope.real(x, perm)]), perm)


@translates(*_ACTIVATIONS)
def clamp(scope: Scope, op: Operator) -> None:
    """Activations that may also be fused into other operators."""
    x, out = op.inputs[0], op.outputs[0]
    perm = scope.perm(x)
    scope.put(out, scope.activated(scope.real(x, perm), op.kind), perm)


@translates("LEAKY_RELU")
def leaky_relu(scope: Scope, op: Operator) -> None:
    """max(x, alpha x) for alpha < 1."""
    x = op.inputs[0]
    perm, alpha = scope.perm(x), float(options(op, "LeakyReluOptions")["Alpha"])
    scope.put(op.outputs[0], scope.builder.emit("LeakyRelu", [scope.real(x, perm)], alpha=alpha), perm)


@translates("GELU")
def gelu(scope: Scope, op: Operator) -> None:
    """x Φ(x), or its approximation by tanh."""
    x = op.inputs[0]
    perm = scope.perm(x)
    how = "tanh" if options(op, "GeluOptions")["Approximate"] else "none"
    scope.put(op.outputs[0], scope.builder.emit("Gelu", [scope.real(x, perm)], approximate=how), perm)


@translates("PRELU", inputs=2)
def prelu(scope: Scope, op: Operator) -> None:
    """x, or slope * x where x < 0; the slope broadcasts."""
    x, slope = op.inputs[:2]
    perm = scope.perm(x)
    operands = [scope.real(x, perm), scope.aligned(slope, perm)]
    made = scope.builder.emit("PRelu", operands)
    if scope.quantized(x) is not None and scope.quantized(slope) is not None:
        scope.builder.mark(made, ROUNDING, FIXED_POINT)
    scope.put(op.outputs[0], made, perm)


@translates("SQUARE")
def square(scope: Scope, op: Operator) -> None:
    """x²."""
    perm = scope.perm(op.inputs[0])
    value = scope.real(op.inputs[0], perm)
    scope.put(op.outputs[0], scope.builder.emit("Mul", [value, value]), perm)


@translates("RSQRT")
def rsqrt(scope: Scope, op: Operator) -> None:
    """1 / √x."""
    perm = scope.perm(op.inputs[0])
    root = scope.builder.emit("Sqrt", [scope.real(op.inputs[0], perm)])
    scope.put(op.outputs[0], scope.builder.emit("Reciprocal", [root]), perm)


@translates("ZEROS_LIKE")
def zeros_like(scope: Scope, op: Operator) -> None:
    """Zeros in the shape of x."""
    x = op.inputs[0]
    scope.put(op.outputs[0], scope.builder.constant(np.zeros(scope.shape(x), scope.real(x).dtype)))


@translates("CAST")
def cast(scope: Scope, op: Operator) -> None:
    """The stored elements in another type."""
    x, out = op.inputs[0], op.outputs[0]
    kind = scope.tensor(out).kind
    if kind not in NUMPY or kind == "INT4":
        raise ModelError(f"it casts to {kind}, which nothing here computes with")
    perm = scope.perm(x)
    to = int(np_to_onnx(kind))
    scope.bind(out, scope.builder.emit("Cast", [scope.raw(x, perm)], to=to), perm)


@translates("QUANTIZE")
def quantize(scope: Scope, op: Operator) -> None:
    """Reals to integers, or integers of one scale to another."""
    perm = scope.perm(op.inputs[0])
    scope.put(op.outputs[0], scope.real(op.inputs[0], perm), perm)


@translates("DEQUANTIZE")
def dequantize(scope: Scope, op: Operator) -> None:
    """Integers, or halves, to f32; half-precision weights become f32 constants here."""
    x, out = op.inputs[0], op.outputs[0]
    perm, array = scope.perm(x), scope.array(x)
    if array is not None and array.dtype == np.float16:
        scope.bind(out, scope.builder.constant(array.astype(np.float32), name=scope.tensor(out).name))
        return
    value = scope.real(x, perm)
    if value.dtype == np.float16:
        value = scope.builder.emit("Cast", [value], to=int(np_to_onnx("FLOAT32")))
    elif value.dtype != np.float32:
        raise ModelError(f"it dequantizes {scope.tensor(x).name!r}, which has no scale")
    scope.bind(out, value, perm)


def np_to_onnx(kind: str) -> int:
    """ONNX's number of an element type."""
    import onnx

    return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(NUMPY[kind])))


def tensor_kind(number: int) -> str:
    """TensorType's name of a number in an options table."""
    return enum_name(tflite.TensorType, number)
