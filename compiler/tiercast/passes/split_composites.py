"""Expands operators that no physical op takes but that ONNX, or a simple identity, defines by others."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir
import onnx_ir.passes.common as onnx_ir_passes

from tiercast.ir.composites import has_body, inline_bodies
from tiercast.ir.edit import erase
from tiercast.ir.report import PassReport
from tiercast.ir.shapes import infer_shapes
from tiercast.ir.support import WHY, runtime_nodes
from tiercast.ops.registry import legalizers
from tiercast.passes.attention import expand_attention
from tiercast.passes.fold_constants import fold_constants
from tiercast.passes.response_norm import expand_response_norm
from tiercast.passes.simple_forms import SIMPLE
from tiercast.passes.unroll_loops import unroll_loops
from tiercast.passes.unusual_forms import UNUSUAL, is_unusual

_HUB_OPSET = 23


def split_composites(model: ir.Model) -> PassReport:
    """Expands, in place and again until none is left, every operator without a legalisation that has a
    function body.

    Plain attention, LRN, Einsum and others go by identities of our own, and so do forms of known operators
    that no kernel takes. Bodies compute with shapes, so
    constants are folded after them.
    """
    report = PassReport("split_composites")
    known = legalizers()
    _expand_identities(model, report)
    while True:
        found = [node for node in runtime_nodes(model.graph) if _is_composite(node, known.__contains__)]
        if not found:
            return report
        for node in found:
            report.apply(node, "replaced by its ONNX function body")
        _expand(model, {node.op_type for node in found})
        fold_constants(model)
        unroll_loops(model)


def _expand_identities(model: ir.Model, report: PassReport) -> None:
    known, before = legalizers(), len(report.applied)
    for node in list(model.graph):
        expand = _IDENTITIES.get(node.op_type) if node.op_type not in known and not node.domain else None
        if node.op_type in UNUSUAL and not node.domain and is_unusual(node):
            expand = UNUSUAL[node.op_type]
        if expand is None:
            continue
        try:
            refusal = expand(node)
        except ValueError as error:
            refusal = str(error)
        if refusal is None:
            report.apply(node, "expanded")
            erase(model.graph, [node])
        else:
            report.refuse(node, refusal)
            node.metadata_props[WHY] = refusal
    if len(report.applied) > before:
        fold_constants(model)  # which also infers the new nodes' shapes


_IDENTITIES: dict[str, Callable[[ir.Node], str | None]] = {
    "Attention": expand_attention,
    "LRN": expand_response_norm,
    **SIMPLE,
}


def _is_composite(node: ir.Node, is_known: Callable[[str], bool]) -> bool:
    return node.domain == "" and not is_known(node.op_type) and has_body(node.op_type, _HUB_OPSET)


def _expand(model: ir.Model, op_types: set[str]) -> None:
    proto = inline_bodies(
        ir.to_proto(model), lambda node: node.domain == "" and node.op_type in op_types, _HUB_OPSET
    )
    expanded = ir.from_proto(infer_shapes(proto))
    onnx_ir_passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(expanded)
    model.graph = expanded.graph
