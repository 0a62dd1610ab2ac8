"""Empty tensors go: they hold no data, so all of them is known; a plan has none but at its ports."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import array, erase, insert_before, like, new_constant, static_shape, take_over
from tiercast.ir.report import PassReport
from tiercast.passes.fold_constants import compute_constants


def remove_empties(model: ir.Model) -> PassReport:
    """Makes constants of empty values and of what is reduced from them, and drops empty operands of Concat
    and empty results of Split, in place. What then depends on no input is computed."""
    report = PassReport("remove_empties")
    for value in model.graph.inputs:
        if _is_empty(value) and value.uses():
            value.replace_all_uses_with(_empty_like(model.graph, value))
            report.applied.append(f"input {value.name!r} is empty")
    for node in list(model.graph):
        _replace_results(model.graph, node, report)
    for node in list(model.graph):
        if node.op_type == "Split" and any(_is_empty(value) for value in node.outputs):
            _drop_results(model.graph, node)
            report.apply(node, "its empty results are dropped")
    for node in list(model.graph):
        kept = [value for value in node.inputs if not _is_empty(value)]
        if node.op_type == "Concat" and 0 < len(kept) < len(node.inputs):
            for index, operand in enumerate(kept):
                node.replace_input_with(index, operand)
            node.resize_inputs(len(kept))
            report.apply(node, "its empty operands are dropped")
    if report.applied:
        compute_constants(model)
    return report


def _is_empty(value: ir.Value | None) -> bool:
    shape = static_shape(value)
    return shape is not None and math.prod(shape) == 0


def _kind(value: ir.Value) -> np.dtype:
    return (value.dtype or ir.DataType.FLOAT).numpy()


def _empty_like(graph: ir.Graph, value: ir.Value) -> ir.Value:
    return new_constant(graph, f"{value.name}.empty", np.zeros(static_shape(value) or (), _kind(value)))


def _replace_results(graph: ir.Graph, node: ir.Node, report: PassReport) -> None:
    """Constants for the node's results that are empty, or reduced from an empty value."""
    if node.op_type == "Identity" and array(node.inputs[0]) is not None:
        return  # a constant that is an output
    for value in node.outputs:
        if not (value.uses() or value.is_graph_output()):
            continue
        if _is_empty(value):
            constant = _empty_like(graph, value)
        elif node.op_type in _OF_NOTHING and _is_empty(node.inputs[0]) and static_shape(value) is not None:
            neutral = _OF_NOTHING[node.op_type](_kind(value))
            data = np.full(static_shape(value) or (), neutral, _kind(value))
            constant = new_constant(graph, f"{value.name}.of_nothing", data)
        else:
            continue
        report.apply(node, f"{value.name!r} is known: there is no data in it, or in what it is made of")
        if value.is_graph_output():
            port = like(value, f"{value.name}.kept")
            insert_before(node, [ir.node("Identity", [constant], outputs=[port], name=value.name)])
            take_over(value, port)
        else:
            value.replace_all_uses_with(constant)
    if not any(value.uses() or value.is_graph_output() for value in node.outputs):
        erase(graph, [node])


def _least(kind: np.dtype) -> float | int | bool:
    if kind.kind in "iu":
        return int(np.iinfo(kind).min)
    return False if kind.kind == "b" else -np.inf


def _most(kind: np.dtype) -> float | int | bool:
    if kind.kind in "iu":
        return int(np.iinfo(kind).max)
    return True if kind.kind == "b" else np.inf


# What a reduction makes of no elements (ONNX's Operators.md says so for each; it leaves the mean open).
_OF_NOTHING = {
    "ReduceSum": lambda _: 0,
    "ReduceL1": lambda _: 0,
    "ReduceL2": lambda _: 0,
    "ReduceSumSquare": lambda _: 0,
    "ReduceProd": lambda _: 1,
    "ReduceMax": _least,
    "ReduceMin": _most,
    "ReduceLogSum": _least,
    "ReduceLogSumExp": _least,
}


def _drop_results(graph: ir.Graph, node: ir.Node) -> None:
    kept = [value for value in node.outputs if not _is_empty(value)]
    made = [like(value, f"{value.name}.full") for value in kept]
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    if len(kept) == 1:
        insert_before(node, [ir.node("Identity", [node.inputs[0]], outputs=made, name=node.name)])
    else:
        sizes = np.array([(static_shape(value) or ())[axis] for value in kept], np.int64)
        given = new_constant(graph, f"{kept[0].name}.sizes", sizes)
        split = ir.node("Split", [node.inputs[0], given], {"axis": axis}, outputs=made, name=node.name)
        insert_before(node, [split])
    for old, new in zip(kept, made, strict=True):
        take_over(old, new)
    erase(graph, [node])
