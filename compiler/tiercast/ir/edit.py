"""Small edits of an onnx-ir graph that keep names, uses and graph outputs right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx_ir as ir


def static_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """The shape when every dimension is known, else None."""
    if value is None or value.shape is None:
        return None
    dims = tuple(value.shape)
    return (
        tuple(int(dim) for dim in dims if isinstance(dim, int))
        if all(isinstance(dim, int) for dim in dims)
        else None
    )


def array(value: ir.Value | None) -> np.ndarray | None:
    """The array of a constant value (an initializer), else None."""
    if value is None or value.const_value is None:
        return None
    return value.const_value.numpy()


def only_user(value: ir.Value) -> ir.Node | None:
    """The one node that reads the value once; None when it has several uses or leaves the graph."""
    uses = list(value.uses())
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None


def new_constant(graph: ir.Graph, name: str, data: np.ndarray) -> ir.Value:
    """Registers `data` as an initializer under a free name that starts with `name`."""
    chosen, count = name, 1
    while chosen in graph.initializers or any(value.name == chosen for value in graph.inputs):
        chosen, count = f"{name}.{count}", count + 1
    tensor = ir.tensor(np.asarray(data, order="C"), name=chosen)
    value = ir.Value(
        name=chosen, shape=ir.Shape(data.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    graph.register_initializer(value)
    return value


def like(value: ir.Value, name: str | None = None) -> ir.Value:
    """A new value of the same type and shape, under the same name unless another is given."""
    return ir.Value(name=name or value.name, shape=value.shape, type=value.type)


def take_over(old: ir.Value, new: ir.Value) -> None:
    """`new` replaces `old` everywhere, graph outputs included, and takes its name and metadata."""
    name, facts = old.name, dict(old.metadata_props)
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    old.name = None
    new.name = name
    new.metadata_props.clear()
    new.metadata_props.update(facts)


def erase(graph: ir.Graph, nodes: Iterable[ir.Node]) -> None:
    """Removes nodes that nothing reads any more."""
    graph.remove(list(nodes), safe=True)


def remove_dead(graph: ir.Graph) -> int:
    """Removes nodes and initializers that no output needs; returns the number of nodes removed."""
    removed = 0
    for node in reversed(list(graph)):
        if not any(value.uses() or value.is_graph_output() for value in node.outputs):
            graph.remove(node, safe=True)
            removed += 1
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]
    return removed


def insert_before(node: ir.Node, new: Sequence[ir.Node]) -> None:
    """Inserts nodes just before `node` in its graph."""
    graph = node.graph
    assert graph is not None
    graph.insert_before(node, new)
