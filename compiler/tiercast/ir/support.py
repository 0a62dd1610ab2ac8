"""Which nodes of an ONNX graph would have to run on the device, and which of them nobody can run."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from tiercast.errors import GraphError

_SHAPE_ONLY = frozenset({"Shape", "Size"})  # constants once every shape is static


def runtime_nodes(graph: ir.Graph) -> list[ir.Node]:
    """Nodes whose result depends on input data, so that folding can't remove them (shapes count as known)."""
    computed = {value for value in graph.inputs if value.const_value is None}
    found = []
    for node in graph:
        captured = {value for inner in _inner_nodes(node) for value in inner.inputs if value in computed}
        if node.op_type in _SHAPE_ONLY or not ((captured or computed & set(node.inputs)) or _is_random(node)):
            continue
        computed.update(node.outputs)
        found.append(node)
    return found


def check_support(graph: ir.Graph, supported: Callable[[ir.Node], bool]) -> None:
    """Raises GraphError that names every node that would have to run and that `supported` denies."""
    missing: dict[str, list[str]] = {}
    for node in runtime_nodes(graph):
        if not supported(node):
            missing.setdefault(_op(node), []).append(node.name or node.outputs[0].name or "?")
    if missing:
        lines = [f"  {op}: {_some(names)}" for op, names in sorted(missing.items())]
        raise GraphError(
            f"{len(missing)} operator(s) of the model are not supported:\n" + "\n".join(lines) + "\n"
            "Replace them in the model, or add them as ops/<op>.py."
        )


def _inner_nodes(node: ir.Node) -> list[ir.Node]:
    graphs = [attr.as_graph() for attr in node.attributes.values() if attr.type == ir.AttributeType.GRAPH]
    return [inner for graph in graphs for inner in graph.all_nodes()]


def _is_random(node: ir.Node) -> bool:
    return node.op_type.startswith("Random") or node.op_type in ("Multinomial", "Bernoulli")


def _op(node: ir.Node) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type


def _some(names: list[str]) -> str:
    shown = ", ".join(f'"{name}"' for name in names[:8])
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "")
