"""Removes nodes that hand their input on unchanged."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import array, erase, remove_dead, static_shape, take_over
from tiercast.ir.report import PassReport


def remove_identities(model: ir.Model) -> PassReport:
    """Removes Identity, inference Dropout and no-op Cast, Reshape, Transpose, Pad, Slice, Resize... in place.

    A graph output keeps its name: the value before it takes it over. What links a graph input or a constant
    straight to a graph output stays, because both names must live.
    """
    report = PassReport("remove_identities")
    graph = model.graph
    for node in list(graph):
        rule = _RULES.get(node.op_type) if node.domain == "" else None
        if rule is None or not rule(node):
            continue
        source, out = node.inputs[0], node.outputs[0]
        assert source is not None
        if out.is_graph_output() and (source.producer() is None or source.is_graph_output()):
            report.refuse(node, "it links an input, a constant or another output to a graph output")
            continue
        report.apply(node, "removed")
        if out.is_graph_output():
            take_over(out, source)
        else:
            out.replace_all_uses_with(source)
        erase(graph, [node])
    remove_dead(graph)
    return report


def _always(node: ir.Node) -> bool:
    del node
    return True


def _same_shape(node: ir.Node) -> bool:
    before = static_shape(node.inputs[0])
    return before is not None and before == static_shape(node.outputs[0])


def _dropout(node: ir.Node) -> bool:
    mask_used = len(node.outputs) > 1 and bool(node.outputs[1].uses() or node.outputs[1].is_graph_output())
    training = array(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else np.False_
    return not mask_used and training is not None and not bool(training)


def _cast(node: ir.Node) -> bool:
    source = node.inputs[0]
    return (
        source is not None
        and source.dtype is not None
        and int(source.dtype) == node.attributes["to"].as_int()
    )


def _transpose(node: ir.Node) -> bool:
    shape = static_shape(node.inputs[0])
    if shape is None:
        return False
    perm = node.attributes["perm"].as_ints() if "perm" in node.attributes else list(range(len(shape)))[::-1]
    return list(perm) == list(range(len(shape)))


def _slice(node: ir.Node) -> bool:
    steps = array(node.inputs[4]) if len(node.inputs) > 4 else np.ones(1)
    return _same_shape(node) and steps is not None and bool(np.all(steps == 1))


def _one_input(node: ir.Node) -> bool:
    return len(node.inputs) == 1


def _pool(node: ir.Node) -> bool:
    ones = all(size == 1 for size in node.attributes["kernel_shape"].as_ints())
    return ones and len(node.outputs) == 1 and _same_shape(node)


_RULES: dict[str, Callable[[ir.Node], bool]] = {
    "Identity": _always,
    "Dropout": _dropout,
    "Cast": _cast,
    "Reshape": _same_shape,
    "Flatten": _same_shape,
    "Expand": _same_shape,
    "Tile": _same_shape,
    "Pad": lambda node: array(node.inputs[1]) is not None and not np.any(array(node.inputs[1])),
    "Transpose": _transpose,
    "Slice": _slice,
    "Concat": _one_input,
    "Sum": _one_input,
    "Max": _one_input,
    "Min": _one_input,
    "Mean": _one_input,
    "AveragePool": _pool,
    "MaxPool": _pool,
}
