"""Loops that are recurrent layers become ONNX's LSTM, GRU and RNN.

TensorFlow writes a Keras layer as a while loop, and after TensorFlow's own optimiser its body has no fixed
form. So a loop is recognised by what it computes: its body's constant matrices are the weights, the operators
that can be made of them are run beside the loop on random inputs, and the one that gives the same results
takes its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from tiercast.frontend.tf_cells import Weights, candidates

_TOLERANCE = 1e-5


@dataclass(frozen=True)
class _Loop:
    """A Loop node, the constants it reads and the inputs that are computed: float arrays of these shapes."""

    node: NodeProto
    constants: Mapping[str, np.ndarray]
    computed: Mapping[str, tuple[int, ...]]


def fuse_recurrences(proto: onnx.ModelProto) -> list[str]:
    """Replaces, in place, every Loop of the main graph that computes an LSTM, GRU or RNN layer with tanh and
    sigmoid; returns the names of the replaced loops. Others stay as they are.
    """
    if not any(node.op_type == "Loop" for node in proto.graph.node):
        return []
    shapes = _shapes(proto)
    constants = {item.name: numpy_helper.to_array(item) for item in proto.graph.initializer}
    fused: list[str] = []
    for node in list(proto.graph.node):
        if _fold(node, constants) or node.op_type != "Loop":
            continue
        loop = _loop(node, constants, shapes)
        made = _recurrence(loop, proto) if loop is not None else None
        if made is not None:
            fused.append(node.name)
            _replace(proto, node, made)
            shapes = _shapes(proto)  # of what follows: inference does not see through loops
    return fused


def _replace(proto: onnx.ModelProto, node: NodeProto, made: Sequence[NodeProto]) -> None:
    nodes = list(proto.graph.node)
    at = next(index for index, item in enumerate(nodes) if item is node or item == node)
    del proto.graph.node[:]
    proto.graph.node.extend([*nodes[:at], *made, *nodes[at + 1 :]])


def _shapes(proto: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """The static shapes of float values."""
    graph = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    found = {}
    for value in (*graph.input, *graph.value_info):
        kind = value.type.tensor_type
        dims = tuple(dim.dim_value for dim in kind.shape.dim)
        if kind.elem_type == TensorProto.FLOAT and all(dims):
            found[value.name] = dims
    return found


def _fold(node: NodeProto, constants: dict[str, np.ndarray]) -> bool:
    """Adds a node's outputs to the constants where it reads nothing else and has no body."""
    names = [name for name in node.input if name]
    if any(item.type == onnx.AttributeProto.GRAPH for item in node.attribute):
        return False
    if not all(name in constants for name in names) or node.op_type.startswith("Random"):
        return False
    arrays = [constants[name] for name in names]
    if sum(array.size for array in arrays) > 1 << 24:
        return False
    graph = helper.make_graph(
        [node], "fold", [_port(name, constants[name]) for name in dict.fromkeys(names)], []
    )
    graph.output.extend(helper.make_empty_tensor_value_info(name) for name in node.output if name)
    made = _run(graph, {name: constants[name] for name in names})
    if made is not None:
        constants.update(zip([name for name in node.output if name], made, strict=True))
    return made is not None


def _loop(
    node: NodeProto, constants: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]
) -> _Loop | None:
    body = _body(node)
    own = {port.name for port in body.input} | {name for item in body.node for name in item.output}
    own |= {item.name for item in body.initializer}
    outer = {name for item in body.node for name in item.input if name and name not in own}
    outer |= {port.name for port in body.output if port.name not in own}
    names = list(dict.fromkeys([name for name in (*node.input, *sorted(outer)) if name]))
    computed = [name for name in names if name not in constants]
    if any(name not in shapes for name in computed):
        return None
    known = {name: constants[name] for name in names if name in constants}
    return _Loop(node, known, {name: shapes[name] for name in computed})


def _recurrence(loop: _Loop, proto: onnx.ModelProto) -> list[NodeProto] | None:
    """The nodes that compute what the loop does."""
    weights = _weights(loop)
    if weights is None:
        return None
    random = np.random.default_rng(0)
    feeds = {name: random.normal(0, 1, dims).astype(np.float32) for name, dims in loop.computed.items()}
    read = _read(loop.node, proto)
    graph = helper.make_graph([loop.node], "loop", [_port(name, feeds[name]) for name in feeds], [])
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in loop.constants.items())
    graph.output.extend(helper.make_empty_tensor_value_info(name) for name in read)
    wanted = _run(graph, feeds)
    if wanted is None:
        return None
    for nodes, initializers, results in candidates(loop.node.name, weights, loop.constants):
        graph = helper.make_graph(nodes, "cell", [_port(name, feeds[name]) for name in feeds], [])
        graph.initializer.extend(initializers)
        graph.output.extend(helper.make_empty_tensor_value_info(name) for name in results)
        made = _run(graph, feeds)
        same = [_equal(array, made) for array in wanted] if made is not None else [None]
        if all(index is not None for index in same):
            proto.graph.initializer.extend(initializers)
            ends = [
                helper.make_node("Identity", [results[index or 0]], [name], name=f"{name}/result")
                for name, index in zip(read, same, strict=True)
            ]
            return [*nodes, *ends]
    return None


def _read(node: NodeProto, proto: onnx.ModelProto) -> list[str]:
    used = _names_read(proto.graph)
    return [name for name in node.output if name in used]


def _names_read(graph: onnx.GraphProto) -> set[str]:
    used = {port.name for port in graph.output}
    for node in graph.node:
        used |= set(node.input)
        for item in node.attribute:
            used |= _names_read(item.g)
    return used


def _equal(array: np.ndarray, made: Sequence[np.ndarray]) -> int | None:
    for index, other in enumerate(made):
        if array.shape == other.shape and np.abs(array - other).max(initial=0) <= _TOLERANCE:
            return index
    return None


def _weights(loop: _Loop) -> Weights | None:
    """The constant matrices that the body multiplies the sequence and the state with."""
    body = _body(loop.node)
    carried = [port.name for port in body.input][2:]
    after = [port.name for port in body.output][1:]
    first = list(loop.node.input)[2:]
    kept = {name: start for name, start, end in zip(carried, first, after, strict=False) if end == name}
    constants = dict(loop.constants)
    constants |= {name: constants[start] for name, start in kept.items() if start in constants}
    constants |= {item.name: numpy_helper.to_array(item) for item in body.initializer}
    shapes = {**loop.computed, **{name: array.shape for name, array in constants.items()}}
    states = [
        (name, start)
        for name, start in zip(carried, first, strict=False)
        if name not in kept and len(shapes.get(start, ())) == 2
    ]
    moving = {name for name, _ in states}
    clock = {port.name for port in body.input} - moving - set(constants)
    kernels: dict[bool, list[np.ndarray]] = {False: [], True: []}
    vectors: list[np.ndarray] = []
    for node in body.node:
        if _fold(node, constants):
            continue
        reads = set(node.input)
        if reads <= clock | set(constants):
            clock |= set(node.output)
        if reads & moving:
            moving |= set(node.output)
        fixed = [constants[name] for name in node.input if name in constants]
        if node.op_type in ("MatMul", "Gemm") and node.input[1] in constants:
            kernels[node.input[0] in moving].append(constants[node.input[1]])
            fixed = [constants[name] for name in list(node.input)[2:] if name in constants]
        if node.op_type in ("MatMul", "Gemm", "Add"):
            vectors += [array.reshape(-1) for array in fixed if array.dtype == np.float32]
    if (
        len(kernels[False]) != 1
        or len(kernels[True]) != 1
        or body.output[0].name not in clock | set(constants)
    ):
        return None
    rows = kernels[False][0].shape[0]
    sequences = [name for name, dims in loop.computed.items() if len(dims) == 3 and dims[2] == rows]
    if len(sequences) != 1 or not 1 <= len(states) <= 2:
        return None
    columns = kernels[False][0].shape[1]
    biases = [array for array in vectors if array.size == columns]
    return Weights(kernels[False][0], kernels[True][0], biases, sequences[0], [start for _, start in states])


def _body(node: NodeProto) -> onnx.GraphProto:
    (body,) = (item.g for item in node.attribute if item.name == "body")
    found: onnx.GraphProto = body
    return found


def _port(name: str, array: np.ndarray) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def _run(graph: onnx.GraphProto, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray] | None:
    """What onnxruntime computes; None where it refuses the graph."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return [np.asarray(array) for array in session.run(None, dict(feeds))]
    except Exception:  # onnxruntime's errors share no base class
        return None
