"""Operators of one or more operands that work element by element and broadcast."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tiercast.frontend.tflite_ops.builder import Value
from tiercast.frontend.tflite_ops.file import Operator
from tiercast.frontend.tflite_ops.scope import Perm, Scope
from tiercast.frontend.tflite_ops.table import activation, options, translates
from tiercast.ir.rounding import COARSE, ROUNDING

_WITH_ACTIVATION = {
    "ADD": ("Add", "AddOptions"),
    "SUB": ("Sub", "SubOptions"),
    "MUL": ("Mul", "MulOptions"),
    "DIV": ("Div", "DivOptions"),
}
_PLAIN = {
    "MAXIMUM": "Max",
    "MINIMUM": "Min",
    "POW": "Pow",
    "ADD_N": "Sum",
    "EQUAL": "Equal",
    "LESS": "Less",
    "LESS_EQUAL": "LessOrEqual",
    "GREATER": "Greater",
    "GREATER_EQUAL": "GreaterOrEqual",
    "LOGICAL_AND": "And",
    "LOGICAL_OR": "Or",
}


def broadcast(scope: Scope, indices: Sequence[int]) -> tuple[list[Value], Perm]:
    """The real values of operands that broadcast against each other, and the order of axes they are in."""
    rank = max(len(scope.shape(index)) for index in indices)
    perm = scope.common_perm(indices, rank)
    return [scope.aligned(index, perm) for index in indices], perm


@translates(*_WITH_ACTIVATION, inputs=2)
def arithmetic(scope: Scope, op: Operator) -> None:
    """ADD, SUB, MUL, DIV with their fused activation."""
    onnx_type, table = _WITH_ACTIVATION[op.kind]
    operands, perm = broadcast(scope, op.inputs)
    made = scope.builder.emit(onnx_type, operands)
    if op.kind in ("ADD", "SUB") and scope.quantized(op.outputs[0]) is not None:
        scope.builder.mark(made, ROUNDING, COARSE)
    scope.put(op.outputs[0], made, perm, activation(options(op, table)))


@translates(*_PLAIN)
def plain(scope: Scope, op: Operator) -> None:
    """Operators whose ONNX namesake does the same."""
    operands, perm = broadcast(scope, op.inputs)
    scope.put(op.outputs[0], scope.builder.emit(_PLAIN[op.kind], operands), perm)


@translates("NOT_EQUAL", inputs=2)
def not_equal(scope: Scope, op: Operator) -> None:
    """not (a = b)."""
    operands, perm = broadcast(scope, op.inputs)
    equal = scope.builder.emit("Equal", operands)
    scope.put(op.outputs[0], scope.builder.emit("Not", [equal]), perm)


@translates("FLOOR_DIV", inputs=2)
def floor_div(scope: Scope, op: Operator) -> None:
    """The quotient rounded down; ONNX's division of integers rounds towards 0."""
    (a, b), perm = broadcast(scope, op.inputs)
    if np.issubdtype(a.dtype, np.floating):
        made = scope.builder.emit("Floor", [scope.builder.emit("Div", [a, b])])
    else:
        rest = scope.builder.emit("Mod", [a, b])
        made = scope.builder.emit("Div", [scope.builder.emit("Sub", [a, rest]), b])
    scope.put(op.outputs[0], made, perm)


@translates("FLOOR_MOD", inputs=2)
def floor_mod(scope: Scope, op: Operator) -> None:
    """The remainder with the divisor's sign."""
    (a, b), perm = broadcast(scope, op.inputs)
    emit = scope.builder.emit
    if not np.issubdtype(a.dtype, np.floating):
        scope.put(op.outputs[0], emit("Mod", [a, b]), perm)
        return
    zero = scope.builder.constant(0.0, a.dtype)
    rest = emit("Mod", [a, b], fmod=1)  # ONNX's remainder of reals has the dividend's sign
    signs_differ = emit("Less", [emit("Mul", [rest, b]), zero])
    scope.put(op.outputs[0], emit("Where", [signs_differ, emit("Add", [rest, b]), rest]), perm)


@translates("SELECT", "SELECT_V2", inputs=3)
def select(scope: Scope, op: Operator) -> None:
    """condition ? a : b; the older SELECT lets a vector choose among rows."""
    condition, *branches = op.inputs[:3]
    rank = len(scope.shape(branches[0]))
    if op.kind == "SELECT" and len(scope.shape(condition)) == 1 and rank > 1:
        rows = scope.reshaped(scope.raw(condition), (scope.shape(condition)[0], *[1] * (rank - 1)))
        perm: Perm = tuple(range(rank))
        operands = [rows, *(scope.real(index) for index in branches)]
    else:
        operands, perm = broadcast(scope, (condition, *branches))
    scope.put(op.outputs[0], scope.builder.emit("Where", operands), perm)
