"""Copies of a control-flow operator's body, as nodes of the graph around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

Inlined = tuple[list[onnx.NodeProto], list[str]]


def inline_body(body: onnx.GraphProto, prefix: str, given: Sequence[str]) -> Inlined:
    """The body's nodes, its initializers as Constant nodes, with every name of its own behind `prefix`, and
    the names that its outputs have.

    given: the names of the outer graph that its inputs are; outer names that it reads stay.
    """
    names = dict(zip((port.name for port in body.input), given, strict=True))
    nodes = []
    for tensor in body.initializer:
        names[tensor.name] = f"{prefix}{tensor.name}"
        nodes.append(onnx.helper.make_node("Constant", [], [names[tensor.name]], value=tensor))
    for node in body.node:
        names |= {name: f"{prefix}{name}" for name in node.output if name}
    nodes += [_renamed(node, names, prefix) for node in body.node]
    ports = {item.name for item in body.input}
    results = []
    for index, port in enumerate(body.output):
        if port.name in ports or port.name not in names:  # it hands on what it was given: a name of its own
            results.append(f"{prefix}out.{index}")
            source = names.get(port.name, port.name)
            nodes.append(onnx.helper.make_node("Identity", [source], [results[-1]]))
        else:
            results.append(names[port.name])
    return nodes, results


def _renamed(node: onnx.NodeProto, names: Mapping[str, str], prefix: str) -> onnx.NodeProto:
    made = onnx.NodeProto()
    made.CopyFrom(node)
    made.name = f"{prefix}{node.name}" if node.name else ""
    made.input[:] = [names.get(name, name) for name in made.input]
    made.output[:] = [names.get(name, name) for name in made.output]
    for attribute in made.attribute:
        for graph in (attribute.g, *attribute.graphs):
            _rename_outer(graph, names)
    return made


def _rename_outer(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Within a nested graph: the names that it captures."""
    own = {item.name for item in (*graph.input, *graph.initializer)}
    own |= {name for node in graph.node for name in node.output}
    outer = {name: new for name, new in names.items() if name not in own}
    for node in graph.node:
        node.input[:] = [outer.get(name, name) for name in node.input]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _rename_outer(inner, outer)
    for port in graph.output:
        port.name = outer.get(port.name, port.name)


class Constants:
    """What can be known of a graph's values before it runs: initializers, and what is computed of them."""

    def __init__(self, graph: onnx.GraphProto, opset: int) -> None:
        self._opset = opset
        small = [tensor for tensor in graph.initializer if int(np.prod(tensor.dims)) <= 1024]
        self._known = {tensor.name: numpy_helper.to_array(tensor) for tensor in small}
        self._producers: dict[str, onnx.NodeProto] = {}
        self.add(graph.node)

    def add(self, nodes: Sequence[onnx.NodeProto]) -> None:
        """Makes nodes known that are in the graph from now on."""
        for node in nodes:
            self._producers |= {name: node for name in node.output if name}

    def value(self, name: str, depth: int = 64) -> np.ndarray | None:
        """The array of a value that follows from small constants without control flow, else None."""
        if name in self._known:
            return self._known[name]
        node = self._producers.get(name)
        if node is None or depth == 0 or node.op_type in ("Loop", "Scan", "If"):
            return None
        if node.op_type.startswith("Random"):
            return None
        inputs = {item: self.value(item, depth - 1) for item in node.input if item}
        known = {item: array for item, array in inputs.items() if array is not None}
        if len(known) < len(inputs):
            return None
        self._known |= self._evaluate(node, known)
        return self._known.get(name)

    def _evaluate(self, node: onnx.NodeProto, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        from onnx.reference import ReferenceEvaluator

        helper = onnx.helper
        ports = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(item.dtype), None)
            for name, item in inputs.items()
        ]
        outputs = [name for name in node.output if name]
        results = [helper.make_empty_tensor_value_info(name) for name in outputs]
        graph = helper.make_graph([node], "node", ports, results)
        opset = helper.make_opsetid("", self._opset)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=11)
        try:
            found = ReferenceEvaluator(model).run(outputs, dict(inputs))
        except Exception:  # the evaluator lacks some operators; then nothing is known
            return {}
        return dict(zip(outputs, map(np.asarray, found), strict=True))
