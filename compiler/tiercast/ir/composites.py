"""Operators that ONNX itself defines by a body of simpler ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import onnx
from onnx import defs, inliner

from tiercast.errors import ModelError
from tiercast.ir.shapes import infer_shapes

# ONNX defines no body, split_composites knows one.
WITHOUT_BODY = frozenset(
    {"LRN", "Col2Im", "Compress", "DFT", "Einsum", "EyeLike", "MaxUnpool", "ReverseSequence", "STFT"}
)
_BODIES = "tiercast.bodies"  # a domain that exists only while bodies are inlined


def can_be_split(op_type: str, opset: int, domain: str = "") -> bool:
    """Whether split_composites may expand the operator."""
    return (domain == "" and op_type in WITHOUT_BODY) or has_body(op_type, opset, domain)


@cache
def has_body(op_type: str, opset: int, domain: str = "") -> bool:
    """Whether the operator, as of `opset` of its domain, has a function body (fixed, or made for a node)."""
    try:
        schema: Any = defs.get_schema(op_type, opset, domain)  # onnx's stub lacks has_function
    except defs.SchemaError:
        return False
    return bool(schema.has_function or schema.has_context_dependent_function)


def add_default_attributes(node: onnx.NodeProto, opset: int) -> None:
    """Writes out the defaults of attributes that are left out: ONNX's inliner drops references to those.

    Optional attributes without a default stay absent.
    """
    schema = defs.get_schema(node.op_type, opset, node.domain)
    present = {attribute.name for attribute in node.attribute}
    for name, attribute in schema.attributes.items():
        if name not in present and attribute.default_value.type != onnx.AttributeProto.UNDEFINED:
            node.attribute.append(attribute.default_value)


def inline_bodies(
    proto: onnx.ModelProto, wanted: Callable[[onnx.NodeProto], bool], opset: int
) -> onnx.ModelProto:
    """The model with each wanted node, in subgraphs too, replaced by its operator's function body.

    opset: of the default domain; other domains count as of the model's import. Every wanted node's operator
    must have a body there.
    Each body is made for its node and called as a local function, since ONNX's own inlining of schema
    functions takes no node that leaves an optional input out. ModelError where ONNX can't make or inline one.
    """
    proto = infer_shapes(proto)  # bodies depend on what a node reads
    versions = {entry.domain: entry.version for entry in proto.opset_import} | {"": opset}
    for graph, types in _graphs(proto.graph, {}):
        for node in graph.node:
            if wanted(node):
                _call_body(proto, node, types, versions)
    if any(entry.domain == _BODIES for entry in proto.opset_import):
        raise ModelError(f"the domain {_BODIES!r} is reserved")
    proto.opset_import.append(onnx.helper.make_opsetid(_BODIES, 1))
    try:
        proto = inliner.inline_local_functions(proto, convert_version=True)
    except Exception as error:  # the C++ inliner raises bare RuntimeError and friends
        names = ", ".join(sorted({function.name for function in proto.functions}))
        raise ModelError(f"the bodies of {names} can't be inlined: {error}") from error
    kept = [entry for entry in proto.opset_import if entry.domain != _BODIES]
    del proto.opset_import[:]
    proto.opset_import.extend(kept)
    return proto


Types = dict[str, onnx.TypeProto]


def _graphs(graph: onnx.GraphProto, outer: Types) -> Iterator[tuple[onnx.GraphProto, Types]]:
    """The graph and all within its nodes, each with the types known there."""
    types = dict(outer)
    for tensor in graph.initializer:
        types[tensor.name] = onnx.helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
    for value in (*graph.input, *graph.value_info, *graph.output):
        types[value.name] = value.type
    yield graph, types
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    yield from _graphs(inner, types)


def _call_body(proto: onnx.ModelProto, node: onnx.NodeProto, types: Types, versions: dict[str, int]) -> None:
    version = versions.get(node.domain, 1)
    add_default_attributes(node, version)
    body = _body(node, types, version)
    body.domain, body.name = _BODIES, f"{node.op_type}.{len(proto.functions)}"
    node.domain, node.op_type = body.domain, body.name
    declared = set(body.attribute) | {attribute.name for attribute in body.attribute_proto}
    kept = [attribute for attribute in node.attribute if attribute.name in declared]
    del node.attribute[:]
    node.attribute.extend(kept)
    proto.functions.append(body)


def _body(node: onnx.NodeProto, types: Types, version: int) -> onnx.FunctionProto:
    schema: Any = defs.get_schema(node.op_type, version, node.domain)
    body = onnx.FunctionProto()
    fixed = [item for item in schema.function_opset_versions if item <= version or node.domain != ""]
    if fixed:
        body.ParseFromString(schema.get_function_with_opset_version(max(fixed)))
        return body
    made = schema.context_dependent_function_opset_versions
    fitting = [item for item in made if item <= version or node.domain != ""] or list(made)
    empty = onnx.TypeProto()
    given = [types.get(name, empty).SerializeToString() for name in node.input]
    text = schema.get_context_dependent_function_with_opset_version(
        max(fitting), node.SerializeToString(), given
    )
    body.ParseFromString(text)
    if not body.node:
        raise ModelError(f'node "{node.name or node.output[0]}" ({node.op_type}): ONNX has no body for it')
    return body
