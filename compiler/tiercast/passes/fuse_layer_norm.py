"""Recognises layer norm written out in arithmetic, as exporters before opset 17 and tf2onnx write it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import (
    array,
    insert_before,
    new_constant,
    only_user,
    remove_dead,
    static_shape,
    take_over,
)
from tiercast.ir.report import PassReport


def fuse_layer_norm(model: ir.Model) -> PassReport:
    """(x - mean(x)) / sqrt(mean((x - mean(x))²) + eps) [* scale] [+ shift], over the last axes, in place."""
    report = PassReport("fuse_layer_norm")
    for node in list(model.graph):
        if node.op_type != "Div" or node.domain:
            continue
        match = _match(node)
        if match is None:
            continue
        source, axis, epsilon = match
        dims = (static_shape(source) or ())[axis:]
        last, scale = _following(node, "Mul", dims)
        last, shift = _following(last, "Add", dims)
        out = last.outputs[0]
        parameters = [
            np.ones(dims, np.float32) if scale is None else scale,
            *([] if shift is None else [shift]),
        ]
        inputs = [source, *(new_constant(model.graph, f"{out.name}.norm", data) for data in parameters)]
        value = ir.Value(name=f"{out.name}.norm", shape=out.shape, type=out.type)
        attributes = {"axis": axis, "epsilon": epsilon}
        insert_before(
            last, [ir.node("LayerNormalization", inputs, attributes, outputs=[value], name=node.name)]
        )
        take_over(out, value)
        report.apply(node, f"layer norm over the last {len(dims)} axes")
    remove_dead(model.graph)
    return report


def _following(node: ir.Node, op_type: str, dims: tuple[int, ...]) -> tuple[ir.Node, np.ndarray | None]:
    """The only reader of `node` and its constant, if that is an `op_type` with floats of shape `dims`."""
    user = only_user(node.outputs[0])
    if user is None or user.domain or user.op_type != op_type:
        return node, None
    for data in map(array, user.inputs):
        if data is not None and data.shape == dims and data.dtype == np.float32:
            return user, data
    return node, None


def _match(divide: ir.Node) -> tuple[ir.Value, int, float] | None:
    """x, first normalised axis and epsilon when `divide` ends a written-out layer norm."""
    centred, deviation = divide.inputs
    root = _producer(deviation, "Sqrt")
    add = _producer(root.inputs[0], "Add") if root is not None else None
    centre = _producer(centred, "Sub")
    if add is None or centre is None or centred is None:
        return None
    epsilon = next(
        (float(data.item()) for data in map(array, add.inputs) if data is not None and data.size == 1), None
    )
    variance = next(
        (item for value in add.inputs if (item := _producer(value, "ReduceMean")) is not None), None
    )
    if epsilon is None or variance is None or not _is_square(variance.inputs[0], centred):
        return None
    source, mean = centre.inputs[0], _producer(centre.inputs[1], "ReduceMean")
    if source is None or mean is None or mean.inputs[0] is not source or source.dtype != ir.DataType.FLOAT:
        return None
    axes = _axes(mean)
    rank = len(static_shape(source) or ())
    if axes is None or axes != _axes(variance) or axes != list(range(axes[0], rank)):
        return None
    return source, axes[0], epsilon


def _producer(value: ir.Value | None, op_type: str) -> ir.Node | None:
    node = value.producer() if value is not None else None
    return node if node is not None and node.domain == "" and node.op_type == op_type else None


def _is_square(value: ir.Value | None, base: ir.Value) -> bool:
    multiply, power = _producer(value, "Mul"), _producer(value, "Pow")
    if multiply is not None:
        return multiply.inputs[0] is base and multiply.inputs[1] is base
    exponent = array(power.inputs[1]) if power is not None else None
    return (
        power is not None and power.inputs[0] is base and exponent is not None and bool(np.all(exponent == 2))
    )


def _axes(reduce: ir.Node) -> list[int] | None:
    keepdims = "keepdims" not in reduce.attributes or reduce.attributes["keepdims"].as_int()
    data = array(reduce.inputs[1]) if len(reduce.inputs) > 1 else None
    rank = len(static_shape(reduce.inputs[0]) or ())
    if data is None or not keepdims or rank == 0 or data.size == 0:
        return None
    return sorted(int(axis) % rank for axis in data.reshape(-1))
