"""Recognises a softmax written out in arithmetic, as memory networks write it after a TopK, and one of f32
values in f64, as ONNX's Attention asks for by softmax_precision."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import array, insert_before, like, remove_dead, static_shape, take_over
from tiercast.ir.report import PassReport

_NARROW = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


def fuse_softmax(model: ir.Model) -> PassReport:
    """exp(x) / sum(exp(x)) along one axis is softmax(x), in place.

    What x subtracts cancels where it is the same along that axis. Where exp(x) would overflow, the softmax
    does not. A softmax in f64 of f32 values that are f32 again behind it is one in f32: they differ by f32's
    rounding.
    """
    report = PassReport("fuse_softmax")
    for node in list(model.graph):
        if _is_widened(node):
            cast = node.inputs[0].producer() if node.inputs[0] is not None else None
            node.replace_input_with(0, cast.inputs[0] if cast is not None else None)
            node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
            report.apply(node, "computed in f32, of which it is and which it becomes")
            continue
        found = _match(node)
        if found is None:
            continue
        source, axis = found
        out = node.outputs[0]
        value = like(out, f"{out.name}.softmax")
        made = ir.node("Softmax", [source], {"axis": axis}, outputs=[value], name=node.name)
        insert_before(node, [made])
        take_over(out, value)
        report.apply(node, f"softmax along axis {axis}")
    remove_dead(model.graph)
    return report


def _is_widened(node: ir.Node) -> bool:
    """Whether the node is a softmax in f64 between casts from and to f32."""
    if node.domain or node.op_type not in ("Softmax", "LogSoftmax") or node.outputs[0].is_graph_output():
        return False
    cast = _producer(node.inputs[0], "Cast")
    source = cast.inputs[0] if cast is not None else None
    if source is None or source.dtype != ir.DataType.FLOAT or node.outputs[0].dtype != ir.DataType.DOUBLE:
        return False
    readers = [use.node for use in node.outputs[0].uses()]
    return all(reader.op_type == "Cast" and reader.outputs[0].dtype in _NARROW for reader in readers)


def _match(divide: ir.Node) -> tuple[ir.Value, int] | None:
    """What the softmax is of, and its axis, when `divide` ends a written-out one."""
    if divide.domain or divide.op_type != "Div":
        return None
    exponential, total = _producer(divide.inputs[0], "Exp"), _producer(divide.inputs[1], "ReduceSum")
    if exponential is None or total is None or total.inputs[0] is not exponential.outputs[0]:
        return None
    axis, source = _axis(total), exponential.inputs[0]
    if axis is None or source is None or source.dtype != ir.DataType.FLOAT:
        return None
    return _without_shift(source, axis), axis


def _axis(total: ir.Node) -> int | None:
    """The one axis that is summed over and kept."""
    keepdims = "keepdims" not in total.attributes or total.attributes["keepdims"].as_int()
    axes = array(total.inputs[1]) if len(total.inputs) > 1 else None
    rank = len(static_shape(total.inputs[0]) or ())
    return (
        int(np.ravel(axes)[0]) % rank if axes is not None and axes.size == 1 and keepdims and rank else None
    )


def _without_shift(value: ir.Value, axis: int) -> ir.Value:
    """x where the value is x - s and s does not change along the axis, else the value."""
    minus = _producer(value, "Sub")
    if minus is None:
        return value
    base, shift = minus.inputs
    dims, of_shift = static_shape(base), static_shape(shift)
    if base is None or dims is None or of_shift is None or dims != static_shape(value):
        return value
    aligned = (1,) * (len(dims) - len(of_shift)) + of_shift
    return base if aligned[axis] == 1 else value


def _producer(value: ir.Value | None, op_type: str) -> ir.Node | None:
    node = value.producer() if value is not None else None
    return node if node is not None and node.domain == "" and node.op_type == op_type else None
