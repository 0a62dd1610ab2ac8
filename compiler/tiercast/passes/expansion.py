"""Writes ONNX nodes in front of a node that they are to replace; shapes are inferred afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import insert_before, new_constant, static_shape, take_over


class Expansion:
    """Operands are values; arrays and Python numbers (as f32) become constants."""

    def __init__(self, node: ir.Node) -> None:
        assert isinstance(node.graph, ir.Graph)
        self.node, self._graph, self._count = node, node.graph, 0
        self._stem = next((value.name for value in node.outputs if value.name), node.op_type)

    def op(self, op_type: str, *inputs: ir.Value | np.ndarray | float | None, **attributes: Any) -> ir.Value:
        """The first result of a new node."""
        made = ir.Value(name=self._name(op_type.lower()))
        values = [
            item if item is None or isinstance(item, ir.Value) else self._constant(item) for item in inputs
        ]
        insert_before(self.node, [ir.node(op_type, values, attributes, outputs=[made], name=made.name)])
        return made

    def reshape(self, value: ir.Value | None, *dims: int) -> ir.Value:
        """The value in another shape."""
        return self.op("Reshape", value, np.array(dims, np.int64))

    def finish(self, *results: ir.Value) -> None:
        """The results take over the node's outputs, in order."""
        for old, new in zip(self.node.outputs, results, strict=False):
            if old.uses() or old.is_graph_output():
                new.type, new.shape = old.type, old.shape
                take_over(old, new)

    def _constant(self, item: np.ndarray | float) -> ir.Value:
        array = item if isinstance(item, np.ndarray) else np.float32(item)
        return new_constant(self._graph, self._name("constant"), np.asarray(array))

    def _name(self, what: str) -> str:
        self._count += 1
        return f"{self._stem}.{what}{self._count}"


def known_shape(value: ir.Value | None) -> tuple[int, ...]:
    """The static shape; ValueError, of which `split_composites` makes a refusal, when it is not known."""
    shape = static_shape(value)
    if shape is None:
        raise ValueError("its shapes are not static")
    return shape


def option(node: ir.Node, name: str, default: Any) -> Any:
    """An attribute's value, lists as lists, or the default."""
    found = node.attributes.get(name)
    if found is None:
        return default
    return list(found.value) if isinstance(found.value, (list, tuple)) else found.value
