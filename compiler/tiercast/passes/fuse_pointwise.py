"""Chains and trees of elementwise nodes become one node with one program."""

from __future__ import annotations

import onnx_ir as ir

from tiercast.ir.edit import erase
from tiercast.ir.report import PassReport, label
from tiercast.ir.slots import set_attribute
from tiercast.ops.program import Program, fits, inline, text
from tiercast.ops.registry import shape
from tiercast.passes.epilogue import program_of


def fuse_pointwise(model: ir.Model) -> PassReport:
    """A Pointwise node takes up each Pointwise input of its shape that only it reads, in place."""
    report = PassReport("fuse_pointwise")
    for node in list(model.graph):
        if program_of(node) is None:
            continue
        refused: set[ir.Value] = set()
        while (value := _candidate(node, refused)) is not None:
            producer = value.producer()
            assert producer is not None
            made = _merged(node, value, producer)
            refusal = _mixed(node, producer) or fits(made[0])
            if refusal is not None:
                report.refuse(node, f"with {label(producer)}: {refusal}")
                refused.add(value)
                continue
            _rewrite(node, *made)
            erase(model.graph, [producer])
            report.apply(node, f"took up {label(producer)}")
    return report


def _candidate(node: ir.Node, refused: set[ir.Value]) -> ir.Value | None:
    for value in node.inputs:
        if value is None or value in refused or value.is_graph_output():
            continue
        alone = all(use.node is node for use in value.uses())
        if alone and program_of(value.producer()) is not None and shape(value) == shape(node.outputs[0]):
            return value
    return None


def _merged(node: ir.Node, value: ir.Value, producer: ir.Node) -> tuple[Program, list[ir.Value]]:
    """The joint program and its inputs, each passed once."""
    inner, outer = program_of(producer), program_of(node)
    assert inner is not None and outer is not None
    inputs: list[ir.Value] = []
    for operand in [*producer.inputs, *node.inputs]:
        if operand is not None and operand is not value and operand not in inputs:
            inputs.append(operand)
    inner_inputs = [inputs.index(item) for item in producer.inputs if item is not None]
    at = list(node.inputs).index(value)
    outer_inputs = [0 if item is value or item is None else inputs.index(item) for item in node.inputs]
    merged = inline(inner, outer, at, inner_inputs, outer_inputs)
    return merged, inputs


def _mixed(node: ir.Node, producer: ir.Node) -> str | None:
    """A program computes in one number type (truth values fit any)."""
    values = [*node.inputs, *producer.inputs, *node.outputs, *producer.outputs]
    kinds = {value.dtype for value in values if value is not None} - {ir.DataType.BOOL}
    return f"they compute in {sorted(str(kind) for kind in kinds)}" if len(kinds) > 1 else None


def _rewrite(node: ir.Node, program: Program, inputs: list[ir.Value]) -> None:
    node.resize_inputs(len(inputs))
    for index, value in enumerate(inputs):
        node.replace_input_with(index, value)
    set_attribute(node, "program", text(program))
