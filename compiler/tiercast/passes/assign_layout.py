"""From ONNX semantics to physical ops: memory order is decided, and data-only operators mostly vanish."""

from __future__ import annotations

import re

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ir import domain
from tiercast.ir.dtypes import NAMES, ONLY_MOVED
from tiercast.ir.edit import remove_dead
from tiercast.ir.refusals import Refusal, refuse
from tiercast.ir.report import PassReport, label, name_of, operator_of
from tiercast.ir.support import WHY, check_support
from tiercast.ops.layouter import Layouter
from tiercast.ops.registry import DOMAIN, legalizer, ops

_LABELS = re.compile(r'^(node "[^"]*" \(\w+\): )+')  # of the ONNX node and of a physical one made for it


def assign_layout(model: ir.Model) -> PassReport:
    """Legalises every node in topological order, in place.

    Graph inputs and outputs keep the model's own order and names (an output's name is its metadata "port");
    every
    physical value that holds a value of the model says which in its metadata: "source" and "perm".
    Raises GraphError: all unsupported operators first, else the node whose legalisation refuses, with the
    rule. While refusals are collected (`ir/refusals.py`) a refused node leaves a gap: its results become
    inputs of the graph, what it reads becomes outputs, and legalisation goes on behind it.
    """
    report = PassReport("assign_layout")
    domain.register(ops())
    check_support(model.graph, lambda node: legalizer(node.domain, node.op_type) is not None)
    layout = Layouter()
    inputs = [_input(value, layout) for value in model.graph.inputs]
    for node in model.graph:
        _legalize(node, layout, report)
    outputs = _outputs(model.graph, layout)
    graph = ir.Graph(
        [*inputs, *layout.gaps],
        [*outputs, *(value for value in layout.loose if value not in outputs)],
        nodes=layout.nodes,
        initializers=list(layout.initializers.values()),
        opset_imports={"": 23, DOMAIN: domain.VERSION},
        name=model.graph.name,
    )
    model.graph = graph
    remove_dead(graph)
    return report


def _input(value: ir.Value, layout: Layouter) -> ir.Value:
    port = ir.Value(name=layout.reserve(value.name or "input"), shape=value.shape, type=value.type)
    layout.bind(value, port)
    return port


def _legalize(node: ir.Node, layout: Layouter, report: PassReport) -> None:
    blocked = layout.blocked_by(node)
    if blocked is not None:  # only while refusals are collected
        rule = f"not checked: the shape of what {blocked} makes is not known"
        refuse(GraphError(f"{label(node)}: {rule}"), [_refusal(node, rule, blocked)])
        layout.leave_gap(node, blocked)
        return
    op = legalizer(node.domain, node.op_type)
    if op is None:  # not folded, though check_support passed over it: it reads no input data
        _refuse(node, "nothing computes this operator, and it was not folded to a constant")
        layout.leave_gap(node, operator_of(node))
        return
    before = len(layout.nodes)
    layout.start(node)
    try:
        op.legalize(node, layout)
    except GraphError as error:
        _refuse(node, node.metadata_props.get(WHY) or str(error), error)
        layout.leave_gap(node, operator_of(node))
        return
    _check_widths(node, layout.nodes[before:])
    made = ", ".join(item.op_type for item in layout.nodes[before:])
    report.apply(node, made or "no step")


def _refuse(node: ir.Node, text: str, cause: GraphError | None = None) -> None:
    rule = _LABELS.sub("", text)
    error = GraphError(text if label(node) in text else f"{label(node)}: {text}")
    error.__cause__ = cause
    refuse(error, [_refusal(node, rule)])


def _refusal(node: ir.Node, rule: str, behind: str = "") -> Refusal:
    return Refusal(operator_of(node), name_of(node), rule, node.outputs[0].name or "", behind)


def _check_widths(node: ir.Node, made: list[ir.Node]) -> None:
    """GraphError where an op would compute in less precision than its f64 operands have."""
    for item in made if node.op_type != "Cast" else ():
        source = item.inputs[0] if item.op_type == "Cast" else None
        if source is not None and source.dtype in ONLY_MOVED:
            rule = f"it computes in {NAMES[source.dtype]}, which nothing here does"
            _refuse(node, f"{rule}; cast its operands to f32 in the model")
            return


def _outputs(graph: ir.Graph, layout: Layouter) -> list[ir.Value]:
    made: list[ir.Value] = []
    for value in graph.outputs:
        if layout.is_unknown(value):
            continue
        physical = layout.plain(value)
        if physical in made or physical in layout.initializers.values():
            physical = layout.emit("Reshape", [physical], {"shape": list(layout.shape(value))})[0]
        physical.metadata_props["port"] = value.name or ""
        made.append(physical)
    return made
