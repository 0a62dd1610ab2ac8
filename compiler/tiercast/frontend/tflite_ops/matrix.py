"""Matrix products."""

from __future__ import annotations

import math

from tiercast.errors import ModelError
from tiercast.frontend.tflite_ops.builder import Value
from tiercast.frontend.tflite_ops.file import Operator
from tiercast.frontend.tflite_ops.scope import Scope
from tiercast.frontend.tflite_ops.spatial import bias_of
from tiercast.frontend.tflite_ops.table import activation, options, translates


@translates("FULLY_CONNECTED", inputs=2)
def fully_connected(scope: Scope, op: Operator) -> None:
    """x [..., I] as rows times weights [O, I]; with KeepNumDims the leading axes come back."""
    chosen = options(op, "FullyConnectedOptions")
    if chosen["WeightsFormat"]:
        raise ModelError("its weights are shuffled (WeightsFormat 1); convert the model without that")
    x, weight_index = op.inputs[0], op.inputs[1]
    dims, weight = scope.shape(x), scope.real(weight_index)
    if len(weight.shape) != 2 or math.prod(dims) % max(weight.shape[1], 1):
        raise ModelError(f"weights of shape {weight.shape} do not fit {dims}")
    columns, features = weight.shape
    rows = math.prod(dims) // features
    flat = scope.reshaped(scope.raw(x), (rows, features))
    operands = [
        scope.dequantized(x, flat, None),
        weight,
        *(_row(scope, item) for item in bias_of(scope, op, 2)),
    ]
    made = scope.builder.emit("Gemm", operands, transB=1)
    wide = (*dims[:-1], columns) if chosen["KeepNumDims"] else (rows, columns)
    scope.put(op.outputs[0], made, activation=activation(chosen), dims=wide)


@translates("BATCH_MATMUL", inputs=2)
def batch_matmul(scope: Scope, op: Operator) -> None:
    """a @ b over the last two axes, either of them transposed."""
    chosen = options(op, "BatchMatMulOptions")
    sides = []
    for index, adjoint in zip(op.inputs[:2], (chosen["AdjX"], chosen["AdjY"]), strict=True):
        rank = len(scope.shape(index))
        if rank < 2:
            raise ModelError(
                f"tensor {scope.tensor(index).name!r} of shape {scope.shape(index)} is no matrix"
            )
        order = (*range(rank - 2), rank - 1, rank - 2) if adjoint else tuple(range(rank))
        sides.append(scope.real(index, order))
    scope.put(op.outputs[0], scope.builder.emit("MatMul", sides))


def _row(scope: Scope, bias: Value) -> Value:
    """Old files hold a bias as [1, O] or [1, 1, 1, O]."""
    return bias if len(bias.shape) == 1 else scope.reshaped(bias, (math.prod(bias.shape),))
