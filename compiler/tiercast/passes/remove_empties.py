"""Parts of tensors that are empty go: a static plan has none."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import erase, insert_before, like, new_constant, static_shape, take_over
from tiercast.ir.report import PassReport


def remove_empties(model: ir.Model) -> PassReport:
    """Drops empty operands of Concat and empty results of Split, in place."""
    report = PassReport("remove_empties")
    for node in list(model.graph):
        results = [value for value in node.outputs if _is_empty(value)]
        if node.op_type == "Split" and results and not any(value.is_graph_output() for value in results):
            _drop_results(model.graph, node)
            report.apply(node, "its empty results are dropped")
    for node in list(model.graph):
        kept = [value for value in node.inputs if not _is_empty(value)]
        if node.op_type == "Concat" and 0 < len(kept) < len(node.inputs):
            for index, value in enumerate(kept):
                node.replace_input_with(index, value)
            node.resize_inputs(len(kept))
            report.apply(node, "its empty operands are dropped")
    return report


def _is_empty(value: ir.Value | None) -> bool:
    shape = static_shape(value)
    return shape is not None and math.prod(shape) == 0


def _drop_results(graph: ir.Graph, node: ir.Node) -> None:
    kept = [value for value in node.outputs if not _is_empty(value)]
    made = [like(value, f"{value.name}.full") for value in kept]
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    if len(kept) == 1:
        insert_before(node, [ir.node("Identity", [node.inputs[0]], outputs=made, name=node.name)])
    elif kept:
        sizes = np.array([(static_shape(value) or ())[axis] for value in kept], np.int64)
        given = new_constant(graph, f"{kept[0].name}.sizes", sizes)
        split = ir.node("Split", [node.inputs[0], given], {"axis": axis}, outputs=made, name=node.name)
        insert_before(node, [split])
    for old, new in zip(kept, made, strict=True):
        take_over(old, new)
    for value in node.outputs:
        if value.uses():
            kind = (value.dtype or ir.DataType.FLOAT).numpy()
            empty = np.zeros(static_shape(value) or (), kind)
            value.replace_all_uses_with(new_constant(graph, f"{value.name}.empty", empty))
    erase(graph, [node])
