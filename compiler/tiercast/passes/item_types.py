"""Types of what a loop's body makes, inferred as if it ran once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
from onnx import numpy_helper

from tiercast.ir.shapes import infer_shapes

_OPEN = "tiercast.open"  # an input of unknown length


def infer_types(
    graph: onnx.GraphProto, opset: int, nodes: Sequence[onnx.NodeProto], results: Sequence[str]
) -> list[Any]:
    """The tensor types of `results`, computed by `nodes` of what the graph gives; without a shape where it
    does not follow.

    ONNX's inference knows no dimension of a Slice with computed bounds; here it knows those of the axes
    that are not cut.
    """
    trial = onnx.GraphProto()
    trial.name = "trial"
    trial.input.extend(graph.input)
    trial.input.append(onnx.helper.make_tensor_value_info(_OPEN, onnx.TensorProto.INT64, ["length"]))
    trial.initializer.extend(graph.initializer)
    known = {item.name: item for item in graph.initializer}
    for node in nodes:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            known[node.output[0]] = node.attribute[0].t
        trial.node.extend(_followed(node, known))
    trial.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in results)
    model = onnx.helper.make_model(trial, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10)
    return [port.type.tensor_type for port in infer_shapes(model).graph.output]


def _followed(node: onnx.NodeProto, known: dict[str, onnx.TensorProto]) -> list[onnx.NodeProto]:
    """The node, or for a Slice with computed bounds what has its shape: Gathers of unknown length."""
    if node.op_type != "Slice" or node.domain or all(name in known for name in node.input[1:3]):
        return [node]
    axes = known.get(node.input[3]) if len(node.input) > 3 else None
    if axes is None:
        return [node]
    made, source = [], node.input[0]
    cut = [int(axis) for axis in numpy_helper.to_array(axes).reshape(-1)]
    for at, axis in enumerate(cut):
        out = node.output[0] if at == len(cut) - 1 else f"{node.output[0]}.{at}"
        made.append(onnx.helper.make_node("Gather", [source, _OPEN], [out], axis=axis))
        source = out
    return made
