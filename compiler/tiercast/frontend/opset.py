"""Any opset -> the hub opset 23, with the converter that is right for the range.

Measured over 64 operators at opsets 11..22 with onnxruntime as judge: onnx's converter is right up to 18;
from 18 on onnxscript's is (onnx's breaks GroupNormalization 18..20). Neither goes down from a newer opset;
there an operator is taken as it is when nothing it uses changed since 23, and by its function body when it is
newer.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache

import onnx
from onnx import defs, version_converter

from tiercast.errors import ModelError
from tiercast.ir.composites import has_body, inline_bodies
from tiercast.ir.shapes import infer_shapes

HUB_OPSET = 23
OLDEST_OPSET = 6  # below, attributes and constants were another language
_HANDOVER_OPSET = 18
_HUB_IR_VERSION = 11
# What of Attention changed meaning between 23 and now: masks of causal and cached attention.
_ATTENTION_OF_ONE_MEANING = frozenset(
    {"q_num_heads", "kv_num_heads", "scale", "softcap", "softmax_precision"}
)


def model_opset(proto: onnx.ModelProto, origin: str) -> int:
    """The default-domain opset the model imports; ModelError when it names none or one onnx does not know."""
    versions = [entry.version for entry in proto.opset_import if entry.domain == ""]
    if not versions:
        raise ModelError(
            f"{origin}: the model imports no ONNX operator set, so its operators have no meaning"
        )
    newest = defs.onnx_opset_version()
    if versions[0] > newest:
        raise ModelError(
            f"{origin}: opset {versions[0]} is newer than {newest}, all that onnx {onnx.__version__} knows"
        )
    return int(versions[0])


def shorten_default_domain(proto: onnx.ModelProto) -> None:
    """Writes "" for "ai.onnx", in place: the two mean the same, but not every tool knows."""
    for item in (*proto.opset_import, *(_nodes(proto.graph))):
        if item.domain == "ai.onnx":
            item.domain = ""


def to_hub_opset(proto: onnx.ModelProto, origin: str) -> onnx.ModelProto:
    """The same model in opset 23. Raises ModelError naming what can't be converted."""
    opset = model_opset(proto, origin)
    if opset == HUB_OPSET or all(_same_meaning(node, opset) for node in _nodes(proto.graph)):
        return _relabelled(proto)
    if opset > HUB_OPSET:
        return _down(proto, opset, origin)
    if opset < OLDEST_OPSET:
        raise ModelError(
            f"{origin}: opset {opset} is older than {OLDEST_OPSET}; export the model with opset 11 or newer"
        )
    return _up(proto, opset, origin)


def _up(proto: onnx.ModelProto, opset: int, origin: str) -> onnx.ModelProto:
    import onnxscript.version_converter as onnxscript_converter  # 0.6 s, only for models that need it

    quiet = logging.getLogger("onnxscript.version_converter")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        if opset < _HANDOVER_OPSET:
            proto = version_converter.convert_version(proto, _HANDOVER_OPSET)
        proto = infer_shapes(proto)
        onnxscript_converter.convert_version(proto, HUB_OPSET)
    except Exception as error:  # RuntimeError, ConvertError, VersionConverterError
        raise ModelError(f"{origin}: opset {opset} can't be converted to {HUB_OPSET}: {error}") from error
    finally:
        quiet.setLevel(level)
    return _relabelled(proto)


def _down(proto: onnx.ModelProto, opset: int, origin: str) -> onnx.ModelProto:
    while True:  # bodies may hold further newer operators
        newer = {node.op_type for node in _nodes(proto.graph) if not _usable(node, opset)}
        if not newer:
            for node in _nodes(proto.graph):
                _drop_defaults_unknown_to_hub(node)
            return _relabelled(proto)
        without_body = sorted(op_type for op_type in newer if not has_body(op_type, opset))
        if without_body:
            raise ModelError(
                f"{origin}: opset {HUB_OPSET} can't say what {', '.join(without_body)} of opset {opset} say; "
                f"export the model with opset {HUB_OPSET}"
            )
        proto = _expand(proto, newer, opset, origin)


def _expand(proto: onnx.ModelProto, op_types: set[str], opset: int, origin: str) -> onnx.ModelProto:
    try:
        return inline_bodies(proto, lambda node: node.domain == "" and node.op_type in op_types, opset)
    except ModelError as error:
        raise ModelError(f"{origin}: {error}") from error


def _usable(node: onnx.NodeProto, opset: int) -> bool:
    """Whether a newer opset's node can stand in opset 23 unchanged: what it uses was there already."""
    if _same_meaning(node, opset):
        return True
    if _signature(node.op_type, HUB_OPSET) is None:
        return False
    if node.op_type == "Attention":
        plain = {item.name for item in node.attribute} <= _ATTENTION_OF_ONE_MEANING
        return plain and len(node.input) <= 4 and len(node.output) == 1
    old = defs.get_schema(node.op_type, HUB_OPSET, "")
    new = defs.get_schema(node.op_type, opset, "")
    known = {attribute.name for attribute in node.attribute} <= set(old.attributes) | _at_default(node, new)
    return known and len(node.input) <= max(len(old.inputs), 1 if _is_variadic(old) else 0)


def _drop_defaults_unknown_to_hub(node: onnx.NodeProto) -> None:
    if node.domain != "":
        return
    known = defs.get_schema(node.op_type, HUB_OPSET, "").attributes
    kept = [attribute for attribute in node.attribute if attribute.name in known]
    del node.attribute[:]
    node.attribute.extend(kept)


def _at_default(node: onnx.NodeProto, schema: defs.OpSchema) -> set[str]:
    found = set()
    for attribute in node.attribute:
        default = schema.attributes[attribute.name].default_value
        if onnx.helper.get_attribute_value(attribute) == (
            onnx.helper.get_attribute_value(default) if default.type else None
        ):
            found.add(attribute.name)
    return found


def _is_variadic(schema: defs.OpSchema) -> bool:
    return any(port.option == defs.OpSchema.FormalParameterOption.Variadic for port in schema.inputs)


def _same_meaning(node: onnx.NodeProto, opset: int) -> bool:
    if node.domain != "":
        return True
    then, now = _signature(node.op_type, opset), _signature(node.op_type, HUB_OPSET)
    return then is not None and then == now


@cache
def _signature(op_type: str, opset: int) -> tuple[object, ...] | None:
    """Inputs, outputs, attributes with defaults; versions equal in all of them differ in dtypes only."""
    try:
        schema = defs.get_schema(op_type, opset, "")
    except defs.SchemaError:
        return None
    if schema.deprecated:
        return None
    attributes = {
        name: (str(item.type), item.required, item.default_value.SerializeToString())
        for name, item in schema.attributes.items()
    }
    inputs = [(port.name, str(port.option)) for port in schema.inputs]
    outputs = [(port.name, str(port.option)) for port in schema.outputs]
    return inputs, outputs, attributes


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _relabelled(proto: onnx.ModelProto) -> onnx.ModelProto:
    others = [entry for entry in proto.opset_import if entry.domain != ""]
    hub = onnx.helper.make_opsetid("", HUB_OPSET)
    kept = [onnx.helper.make_opsetid(entry.domain, entry.version) for entry in others]
    del proto.opset_import[:]
    proto.opset_import.extend([hub, *kept])
    proto.ir_version = _HUB_IR_VERSION  # a newer one says nothing more, and onnxruntime refuses it
    return proto
