"""The one form every reader hands over: opset 23, static shapes, no functions, constants as initializers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as onnx_ir_passes
from onnx import inliner

from tiercast.errors import ModelError
from tiercast.frontend.dimensions import fix_dimensions, symbolic_dimensions
from tiercast.frontend.opset import HUB_OPSET, model_opset, to_hub_opset
from tiercast.frontend.quantized import expand_quantized, is_quantized
from tiercast.frontend.shapes import note_symbols
from tiercast.ir.composites import add_default_attributes, can_be_split, has_body, inline_bodies
from tiercast.ir.domain import declare_foreign
from tiercast.ir.edit import static_shape
from tiercast.ir.refusals import Refusal, refuse
from tiercast.ir.shapes import infer_shapes
from tiercast.ir.support import WHY, check_support
from tiercast.ir.weights import Weights, give_back, light_copy
from tiercast.ops.registry import legalizer, legalizers


def to_hub(
    proto: onnx.ModelProto,
    inputs: Mapping[str, Sequence[int]] | None,
    origin: str,
    weights: Weights | None = None,
) -> ir.Model:
    """Brings any ONNX model into the hub form.

    inputs: shapes that fix named dimensions. origin: how errors name the source. weights: the heavy constants
    of a `proto` that is a light copy and ours to change (`ir.weights`); None: it is whole, and left as it is.
    Raises ModelError (unsupported operators: all of them, before any conversion), UsageError for wrong
    inputs.
    """
    if weights is None:
        proto, weights = light_copy(proto)
    proto = _inline(proto, origin)
    _check_operators(proto, weights, origin)
    symbols = symbolic_dimensions(proto, apart=weights)
    declare_foreign(proto)
    fix_dimensions(proto, inputs or {}, origin, apart=weights)
    proto = to_hub_opset(_expand_foreign(proto, origin), origin)
    expand_quantized(proto)
    proto = _infer_shapes(proto, origin)
    model = ir.from_proto(proto)
    give_back(model, weights)
    onnx_ir_passes.RemoveInitializersFromInputsPass()(model)
    onnx_ir_passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    model.metadata_props["origin"] = origin
    note_symbols(model, symbols)
    return model


def _inline(proto: onnx.ModelProto, origin: str) -> onnx.ModelProto:
    if not proto.functions:
        return proto
    try:
        return inliner.inline_local_functions(proto, convert_version=True)
    except Exception as error:  # the C++ inliner raises bare RuntimeError and friends
        raise ModelError(f"{origin}: its local functions can't be inlined: {error}") from error


def _expand_foreign(proto: onnx.ModelProto, origin: str) -> onnx.ModelProto:
    """ONNX's operators of other domains (ai.onnx.preview), by their function bodies."""
    versions = {entry.domain: entry.version for entry in proto.opset_import}

    def wanted(node: onnx.NodeProto) -> bool:
        return node.domain != "" and has_body(node.op_type, versions.get(node.domain, 1), node.domain)

    if not any(wanted(node) for node in proto.graph.node):
        return proto
    try:
        return inline_bodies(proto, wanted, model_opset(proto, origin))
    except ModelError as error:
        raise ModelError(f"{origin}: {error}") from error


def _check_operators(proto: onnx.ModelProto, weights: Weights, origin: str) -> None:
    opset = model_opset(proto, origin)
    versions = {entry.domain: entry.version for entry in proto.opset_import}

    def supported(node: ir.Node) -> bool:
        if node.domain == "" and node.op_type == "NonMaxSuppression" and not _has_known_rows(node):
            node.metadata_props[WHY] = (
                "its number of results depends on data; as an output of the model whose rows the model "
                "declares, it has that many, -1 where fewer are found"
            )
            return False
        if is_quantized(node.domain, node.op_type) or legalizer(node.domain, node.op_type) is not None:
            return True
        if node.domain != "":
            return has_body(node.op_type, versions.get(node.domain, 1), node.domain)
        return node.op_type in ("If", "Loop", "Scan", "Scatter", "Upsample") or can_be_split(
            node.op_type, max(opset, HUB_OPSET)
        )

    model = ir.from_proto(proto)
    give_back(model, weights)
    check_support(model.graph, supported, origin)


def _has_known_rows(node: ir.Node) -> bool:
    """Whether a NonMaxSuppression gives an output of the model that is declared with all its dimensions."""
    out = node.outputs[0]
    return out.is_graph_output() and not out.uses() and static_shape(out) is not None


def _infer_shapes(proto: onnx.ModelProto, origin: str) -> onnx.ModelProto:
    del proto.graph.value_info[:]
    for node in proto.graph.node:  # inference goes through bodies, which lose defaults that are left out
        if node.domain == "" and node.op_type not in legalizers() and has_body(node.op_type, HUB_OPSET):
            add_default_attributes(node, HUB_OPSET)
    try:
        return infer_shapes(proto, strict=True)
    except Exception as error:
        rule = f"the model's shapes contradict each other: {error}"
        refuse(ModelError(f"{origin}: {rule}"), [Refusal("", "", rule)])
    return infer_shapes(proto)
