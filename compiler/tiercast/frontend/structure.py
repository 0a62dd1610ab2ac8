"""What makes an ONNX graph a graph: names, order, operands, attributes. Each breach has a message of its own.

onnx's checker knows the rules as well, yet says neither which node nor what to do.
"""

from __future__ import annotations

import graphlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import onnx
from onnx import defs

from tiercast.errors import GraphError, ModelError
from tiercast.ir.weights import tensor_bytes

_TYPES = onnx.AttributeProto.AttributeType
_MOST_ELEMENTS = 1 << 40  # the runtime's limit of one tensor, as is the next
_MOST_DIM = (1 << 31) - 1


def check_structure(proto: onnx.ModelProto, origin: str) -> None:
    """Checks the main graph and those inside its nodes; brings nodes in order where they are not, in place.

    Raises ModelError and GraphError.
    """
    versions = {entry.domain: entry.version for entry in proto.opset_import}
    try:
        _check_graph(proto.graph, versions, frozenset())
    except ModelError as error:
        raise type(error)(f"{origin}: {error}") from None


def check_initializers(graph: onnx.GraphProto) -> None:
    """Checks names, shapes and sizes of a graph's initializers; ModelError names the one that is wrong."""
    _refuse_twice("initializers", [tensor.name for tensor in graph.initializer])
    for tensor in graph.initializer:
        _check_initializer(tensor)


def _check_graph(graph: onnx.GraphProto, versions: Mapping[str, int], outer: frozenset[str]) -> None:
    _check_names(graph)
    for port in graph.input:
        _check_port(port)
    known = {*outer, *(port.name for port in graph.input), *(item.name for item in graph.initializer)}
    known |= {item.values.name for item in graph.sparse_initializer}
    _sort(graph, known)
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    shapes |= {port.name: _static_dims(port) for port in graph.input}
    for node in graph.node:
        for name in node.input:
            if name and name not in known:
                raise GraphError(
                    f"{_where(node)} reads {name!r}, which is no input, no initializer and no node's output"
                )
        _check_node(node, versions, shapes)
        for inner in _graphs(node):
            check_initializers(inner)
            _check_graph(inner, versions, frozenset(known))
        known.update(name for name in node.output if name)
    for port in graph.output:
        if port.name not in known:
            raise ModelError(f"the output {port.name!r} is computed by no node")


def _check_names(graph: onnx.GraphProto) -> None:
    for kind, names in (
        ("inputs", [port.name for port in graph.input]),
        ("outputs", [port.name for port in graph.output]),
    ):
        _refuse_twice(kind, names)
    makers: dict[str, str] = {port.name: "the inputs" for port in graph.input}
    makers |= {tensor.name: "the initializers" for tensor in graph.initializer}
    for node in graph.node:
        for name in filter(None, node.output):
            if name in makers:
                raise GraphError(
                    f"{_where(node)} writes {name!r}, a name that {makers[name]} has already; every value "
                    "needs its own"
                )
            makers[name] = _where(node)


def _refuse_twice(kind: str, names: Iterable[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise ModelError(f"{count} {kind} are called {name!r}; every value needs a name of its own")


def _check_initializer(tensor: onnx.TensorProto) -> None:
    where = f"initializer {tensor.name!r}"
    if tensor.data_type not in onnx.TensorProto.DataType.values() or tensor.data_type == 0:
        raise ModelError(f"{where} has element type {tensor.data_type}, which ONNX does not know")
    elements = 1
    for dim in tensor.dims:
        elements *= dim
        if not 0 <= dim <= _MOST_DIM or elements > _MOST_ELEMENTS:
            raise ModelError(
                f"{where} has shape {list(tensor.dims)}; dimensions must be from 0 to 2^31 - 1, and 2^40 "
                "elements at most"
            )
    if tensor.HasField("raw_data") and tensor.data_location != onnx.TensorProto.EXTERNAL:
        needed, given = tensor_bytes(tensor), len(tensor.raw_data)
        if needed and given != needed:
            raise ModelError(
                f"{where} holds {given} bytes, its shape {list(tensor.dims)} and type need {needed}; the "
                "file is damaged, or its exporter wrong"
            )


def _check_port(port: onnx.ValueInfoProto) -> None:
    elements = 1
    for dim in port.type.tensor_type.shape.dim:
        if dim.HasField("dim_value") and dim.dim_value > 0:
            elements *= dim.dim_value
            if dim.dim_value > _MOST_DIM or elements > _MOST_ELEMENTS:
                raise ModelError(
                    f"input {port.name!r} has a dimension of {dim.dim_value}; dimensions must be below 2^31, "
                    "and 2^40 elements are the most"
                )


def _static_dims(port: onnx.ValueInfoProto) -> list[int]:
    """The dims of an input, [] when one is open: heavy weights stand among the inputs."""
    dims = [dim.dim_value for dim in port.type.tensor_type.shape.dim]
    return dims if all(dims) else []


def _sort(graph: onnx.GraphProto, known: set[str]) -> None:
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    reads = [set(_reads(node)) for node in graph.node]
    needs = {index: {makers[name] for name in names if name in makers} for index, names in enumerate(reads)}
    if all(max(before, default=-1) < index for index, before in needs.items()):
        return
    try:
        order = list(graphlib.TopologicalSorter(needs).static_order())
    except graphlib.CycleError as error:
        cycle = " -> ".join(_where(graph.node[index]) for index in reversed(error.args[1]))
        raise GraphError(f"the graph has a cycle, so nothing in it can be first: {cycle}") from None
    nodes = [onnx.NodeProto.FromString(graph.node[index].SerializeToString()) for index in order]
    del graph.node[:]
    graph.node.extend(nodes)


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """Names that the node needs, those that graphs inside of it take from outside among them."""
    yield from filter(None, node.input)
    for graph in _graphs(node):
        for inner in graph.node:
            yield from _reads(inner)
        yield from (port.name for port in graph.output)


def _graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        yield from ([attribute.g] if attribute.type == _TYPES.GRAPH else attribute.graphs)


def _check_node(node: onnx.NodeProto, versions: Mapping[str, int], shapes: Mapping[str, list[int]]) -> None:
    opset = versions.get("", 0)
    if node.domain != "" or not defs.has(node.op_type, max(opset, 1), ""):
        return  # who reads the operators says what of them is unknown
    schema = defs.get_schema(node.op_type, max(opset, 1), "")
    _check_attributes(node, schema, opset)
    _check_operands(node, schema)
    if node.op_type in ("Conv", "ConvTranspose") and shapes.get(node.input[1]):
        _check_kernel(node, shapes[node.input[1]])


def _check_attributes(node: onnx.NodeProto, schema: defs.OpSchema, opset: int) -> None:
    _refuse_twice(f"attributes of {_where(node)}", [attribute.name for attribute in node.attribute])
    for attribute in node.attribute:
        formal = schema.attributes.get(attribute.name)
        if formal is None:
            raise GraphError(
                f"{_where(node)} has an attribute {attribute.name!r}, which {node.op_type} of opset {opset} "
                f"does not know; it takes {', '.join(sorted(schema.attributes)) or 'none'}"
            )
        have, want = _TYPES.Name(attribute.type), str(formal.type).rpartition(".")[2]
        if have != want and not attribute.ref_attr_name:
            raise GraphError(
                f"{_where(node)}: attribute {attribute.name!r} is of type {have}, {node.op_type} takes {want}"
            )
    given = {attribute.name for attribute in node.attribute}
    for name, formal in schema.attributes.items():
        if formal.required and name not in given:
            raise GraphError(f"{_where(node)} lacks the attribute {name!r}, without which it means nothing")


def _check_operands(node: onnx.NodeProto, schema: defs.OpSchema) -> None:
    if not schema.min_input <= len(node.input) <= schema.max_input:
        most = "any number" if schema.max_input > 1 << 20 else schema.max_input
        raise GraphError(
            f"{_where(node)} has {len(node.input)} inputs; {node.op_type} takes {schema.min_input} to {most}"
        )
    if not schema.min_output <= len(node.output) <= schema.max_output:
        raise GraphError(
            f"{_where(node)} has {len(node.output)} outputs; {node.op_type} makes {schema.min_output} to "
            f"{schema.max_output}"
        )
    for formal, name in zip(schema.inputs, node.input, strict=False):
        if not name and formal.option == defs.OpSchema.FormalParameterOption.Single:
            raise GraphError(f"{_where(node)}: its input {formal.name!r} is missing")


def _check_kernel(node: onnx.NodeProto, weight: list[int]) -> None:
    attributes = {item.name: item for item in node.attribute}
    if len(weight) < 3 or 0 in weight:
        raise GraphError(
            f"{_where(node)}: its weight {node.input[1]!r} has shape {weight}, not [M, C, k, ...]"
        )
    kernel = list(attributes["kernel_shape"].ints) if "kernel_shape" in attributes else weight[2:]
    if kernel != weight[2:]:
        raise GraphError(
            f"{_where(node)}: kernel_shape is {kernel}, its weight {node.input[1]!r} of shape {weight} has "
            f"{weight[2:]}"
        )
    group = attributes["group"].i if "group" in attributes else 1
    if group < 1 or weight[0] % group:
        raise GraphError(
            f"{_where(node)}: group={group} does not divide the {weight[0]} of its weight's shape {weight}"
        )
    for name in ("strides", "dilations"):
        if name in attributes and any(step < 1 for step in attributes[name].ints):
            raise GraphError(
                f"{_where(node)}: {name} is {list(attributes[name].ints)}; each must be 1 or more"
            )


def _where(node: onnx.NodeProto) -> str:
    name = node.name or next(filter(None, node.output), "?")
    return f'node "{name}" ({node.op_type})'
