"""Which nodes of an ONNX graph would have to run on the device, and which of them nobody can run."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from tiercast.errors import UnsupportedError
from tiercast.ir.domain import QUANTIZED
from tiercast.ir.refusals import NOT_SUPPORTED, Refusal, refuse
from tiercast.ir.report import name_of, operator_of

WHY = "refused"  # a node's metadata: why split_composites could not say it in other operators
_SHAPE_ONLY = frozenset({"Shape", "Size"})  # constants once every shape is static


def runtime_nodes(graph: ir.Graph) -> list[ir.Node]:
    """Nodes whose result depends on input data, so that folding can't remove them (shapes count as known).

    Those of other domains than ONNX's are among them: nobody here folds them.
    """
    computed = {value for value in graph.inputs if value.const_value is None}
    found = []
    for node in graph:
        captured = {value for inner in inner_nodes(node) for value in inner.inputs if value in computed}
        foreign = node.domain not in ("", "ai.onnx", QUANTIZED)
        reads = captured or computed & set(node.inputs) or _is_random(node) or foreign
        if (node.op_type in _SHAPE_ONLY and not foreign) or not reads:
            continue
        computed.update(node.outputs)
        found.append(node)
    return found


def check_support(graph: ir.Graph, supported: Callable[[ir.Node], bool], origin: str = "") -> None:
    """Raises UnsupportedError that names every node that would have to run and that `supported` denies.

    origin: how errors name the source. While refusals are collected, it only notes them.
    """
    refused = [
        Refusal(operator_of(node), name_of(node), _rule(node), node.outputs[0].name or "")
        for node in runtime_nodes(graph)
        if not supported(node)
    ]
    if refused:
        missing: dict[str, list[str]] = {}
        for item in refused:
            missing.setdefault(item.op, []).append(item.node)
        reasons = {item.op: item.rule.partition(": ")[2] for item in refused}
        refuse(UnsupportedError(missing, origin, reasons), refused)


def _rule(node: ir.Node) -> str:
    why = node.metadata_props.get(WHY)
    return f"{NOT_SUPPORTED}: {why}" if why else NOT_SUPPORTED


def inner_nodes(node: ir.Node) -> list[ir.Node]:
    """The nodes of all graphs inside of a node (bodies, branches), those inside of these among them."""
    graphs = [attr.as_graph() for attr in node.attributes.values() if attr.type == ir.AttributeType.GRAPH]
    return [inner for graph in graphs for inner in graph.all_nodes()]


def _is_random(node: ir.Node) -> bool:
    return node.op_type.startswith("Random") or node.op_type in ("Multinomial", "Bernoulli")
