"""Operators that pick elements by position."""

from __future__ import annotations

import numpy as np

from tiercast.errors import ModelError
from tiercast.frontend.tflite_ops.builder import Value
from tiercast.frontend.tflite_ops.file import Operator
from tiercast.frontend.tflite_ops.scope import Scope
from tiercast.frontend.tflite_ops.shapes import axis_of, cast, keep, stored
from tiercast.frontend.tflite_ops.table import options, translates


@translates("GATHER", inputs=2)
def gather(scope: Scope, op: Operator) -> None:
    """Slices of x along an axis; with leading batch axes, each from its own batch."""
    x, indices = op.inputs[:2]
    out, chosen = op.outputs[0], options(op, "GatherOptions")
    rank, batch = len(scope.shape(x)), int(chosen["BatchDims"])
    axis = axis_of(int(chosen["Axis"]), rank)
    batch += len(scope.shape(indices)) if batch < 0 else 0
    value = stored(scope, x, out)
    if not batch:
        keep(scope, x, out, scope.builder.emit("Gather", [value, scope.raw(indices)], axis=axis))
        return
    if axis != batch:
        raise ModelError(
            f"it gathers along axis {axis} with {batch} batch axes; only axis {batch} is supported"
        )
    places = cast(scope, scope.raw(indices), "INT64")
    places = scope.reshaped(places, (*places.shape, 1))
    keep(scope, x, out, scope.builder.emit("GatherND", [value, places], batch_dims=batch))


@translates("GATHER_ND", inputs=2)
def gather_nd(scope: Scope, op: Operator) -> None:
    """Slices of x at positions along its first axes."""
    x, indices = op.inputs[:2]
    out = op.outputs[0]
    operands = [stored(scope, x, out), cast(scope, scope.raw(indices), "INT64")]
    keep(scope, x, out, scope.builder.emit("GatherND", operands))


@translates("EMBEDDING_LOOKUP", inputs=2)
def embedding_lookup(scope: Scope, op: Operator) -> None:
    """Rows of a table."""
    ids, table = op.inputs[:2]
    out = op.outputs[0]
    operands = [stored(scope, table, out), scope.raw(ids)]
    keep(scope, table, out, scope.builder.emit("Gather", operands, axis=0))


@translates("ONE_HOT", inputs=4)
def one_hot(scope: Scope, op: Operator) -> None:
    """`on` at each index, `off` elsewhere; indices outside 0..depth-1 are all `off`."""
    indices, depth_index, on, off = op.inputs[:4]
    (depth,) = scope.numbers(depth_index, "the depth")
    values = [scope.constant(index, name).reshape(1) for index, name in ((off, "off"), (on, "on"))]
    emit, places = scope.builder.emit, cast(scope, scope.raw(indices), "INT64")
    if places.array is None or np.any(places.array < 0):  # ONNX counts negative ones from the end
        zero = scope.builder.constant(0, np.int64)
        outside = scope.builder.constant(depth, np.int64)
        places = emit("Where", [emit("Less", [places, zero]), outside, places])
    operands: list[Value] = [
        places,
        scope.builder.ints([depth]),
        scope.builder.constant(np.concatenate(values)),
    ]
    axis = int(options(op, "OneHotOptions")["Axis"])
    scope.bind(op.outputs[0], emit("OneHot", operands, axis=axis))


@translates("WHERE")
def where(scope: Scope, op: Operator) -> None:
    """Positions of what is not zero: how many there are must be known when the model is compiled."""
    found = np.argwhere(scope.constant(op.inputs[0], "the condition"))
    scope.bind(op.outputs[0], scope.builder.constant(found, np.int64))
