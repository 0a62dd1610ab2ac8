"""ONNX models with operators of users' own domains, run as their reference: onnxruntime computes ONNX's
operators in pieces, and each custom op's numpy `reference` what lies between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir
from onnx import inliner, numpy_helper

from tiercast.errors import ModelError
from tiercast.ops.registry import extra_ops, legalizer, where

Arrays = dict[str, np.ndarray]
Run = Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]


def has_custom_nodes(proto: onnx.ModelProto) -> bool:
    """Whether an op of the user's own takes a node of the model, in a local function too."""
    nodes = [*proto.graph.node, *(node for function in proto.functions for node in function.node)]
    return bool(extra_ops()) and any(_is_custom(node) for node in nodes)


def reference_in_pieces(proto: onnx.ModelProto, open_session: Callable[[onnx.ModelProto], Run]) -> Run:
    """The model as a function. open_session: how onnxruntime runs a piece, outputs in order.

    ModelError where a node reads what nobody computes, or a `reference` contradicts its op's `infer_onnx`.
    """
    if proto.functions:
        proto = inliner.inline_local_functions(proto, convert_version=True)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    outputs = [port.name for port in proto.graph.output]
    pieces = list(_cut(proto))
    sessions: dict[int, Run] = {}

    def run(inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        known: Arrays = {**constants, **inputs}
        for number, nodes in enumerate(pieces):
            if _is_custom(nodes[0]):
                known.update(_run_custom(nodes[0], known))
                continue
            made = {name for node in nodes for name in node.output if name}
            wanted = sorted(made & _read_elsewhere(proto, nodes))
            given = {name: known[name] for name in sorted(_read(nodes) - made) if name in known}
            if number not in sessions:
                sessions[number] = open_session(_piece(proto, nodes, given, wanted))
            known.update(zip(wanted, sessions[number](given), strict=True))
        return [known[name] for name in outputs]

    return run


def _is_custom(node: onnx.NodeProto) -> bool:
    op = legalizer(node.domain, node.op_type)
    return op is not None and extra_ops().get(op.name) is op and node.domain not in ("", "ai.onnx")


def _cut(proto: onnx.ModelProto) -> Iterator[list[onnx.NodeProto]]:
    """The nodes in runs to be computed one after the other: one custom node, or as many others as can."""
    known = {port.name for port in proto.graph.input} | {tensor.name for tensor in proto.graph.initializer}
    pending = list(proto.graph.node)
    while pending:
        plain: list[onnx.NodeProto] = []
        rest: list[onnx.NodeProto] = []
        for node in pending:
            ready = not _is_custom(node) and _read([node]) <= known
            (plain if ready else rest).append(node)
            known.update(node.output if ready else ())
        if plain:
            yield plain
        custom = [node for node in rest if _is_custom(node) and _read([node]) <= known]
        for node in custom:
            known.update(node.output)
            yield [node]
        if not plain and not custom:
            raise ModelError(f"onnx: node {rest[0].name!r} ({rest[0].op_type}) reads what no node computes")
        pending = [node for node in rest if not any(node is done for done in custom)]


def _read(nodes: Sequence[onnx.NodeProto]) -> set[str]:
    """What the nodes read, with what their bodies read from outside."""
    found: set[str] = set()
    for node in nodes:
        found.update(name for name in node.input if name)
        for attribute in node.attribute:
            for body in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                inside = {name for inner in body.node for name in inner.output}
                inside |= {port.name for port in body.input} | {tensor.name for tensor in body.initializer}
                found |= _read(body.node) - inside
    return found


def _read_elsewhere(proto: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> set[str]:
    own = {id(node) for node in nodes}
    others = [node for node in proto.graph.node if id(node) not in own]
    return _read(others) | {port.name for port in proto.graph.output}


def _piece(
    proto: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], given: Arrays, wanted: Sequence[str]
) -> onnx.ModelProto:
    def port(name: str) -> onnx.ValueInfoProto:
        array = given[name]
        return onnx.helper.make_tensor_value_info(
            name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )

    graph = onnx.helper.make_graph(
        list(nodes),
        "piece",
        [port(name) for name in given],
        [onnx.helper.make_empty_tensor_value_info(name) for name in wanted],
    )
    domains = {node.domain for node in nodes} | {""}
    imports = [entry for entry in proto.opset_import if entry.domain in domains]
    return onnx.helper.make_model(graph, opset_imports=imports, ir_version=proto.ir_version)


def _run_custom(proto: onnx.NodeProto, known: Arrays) -> Arrays:
    op = legalizer(proto.domain, proto.op_type)
    assert op is not None
    arrays = [known[name] if name else None for name in proto.input]
    attributes = [ir.from_proto(attribute) for attribute in proto.attribute]
    node = ir.Node(
        proto.domain,
        proto.op_type,
        [_value(name, array) for name, array in zip(proto.input, arrays, strict=True)],
        attributes,
        num_outputs=len(proto.output),
        name=proto.name or proto.output[0],
    )
    results = [np.asarray(array) for array in op.reference_onnx(node, *arrays)]
    for (kind, dims), array in zip(op.infer_onnx(node), results, strict=True):
        if (kind.numpy(), dims) != (array.dtype, array.shape):
            raise ModelError(
                f"{where(node)}: its reference gives {array.dtype} {array.shape}, infer says {kind} {dims}"
            )
    return dict(zip(proto.output, results, strict=True))


def _value(name: str, array: np.ndarray | None) -> ir.Value | None:
    if array is None:
        return None
    kind = ir.TensorType(ir.DataType.from_numpy(array.dtype))
    return ir.Value(name=name, shape=ir.Shape(array.shape), type=kind, const_value=ir.tensor(array))
