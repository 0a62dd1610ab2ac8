"""Computes at compile time whatever does not depend on input data, shapes included (onnxsim)."""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as onnx_ir_passes

from tiercast.errors import ModelError
from tiercast.ir.edit import array, like, new_constant, static_shape, take_over
from tiercast.ir.report import PassReport
from tiercast.ir.shapes import infer_shapes
from tiercast.ir.support import inner_nodes, runtime_nodes
from tiercast.ir.weights import HEAVY_BYTES, Weights, give_back, light_proto

# Batch norm has a pass of its own that also knows depthwise and transposed convolutions; fuse_qkv renames
# values, attention fusions write operators of another domain than ONNX's, and the Pad fusions come later, on
# physical nodes, where reflect and edge pads fuse as well.
_SKIPPED = [
    "fuse_qkv",
    "fuse_attention",
    "fuse_gqa",
    "fuse_rope",
    "fuse_pad_into_conv",
    "fuse_pad_into_pool",
    "fuse_consecutive_reduce_unsqueeze",
]


_NOT_COMPUTED = (
    ir.DataType.BFLOAT16,
    ir.DataType.STRING,
)  # onnxruntime hands out no bf16, plans hold no text
LIMIT_S = 30.0  # for loops over constants: one in a branch that is never taken may have no end


def fold_constants(model: ir.Model) -> PassReport:
    """Folds constants and simplifies, in place; input and output names stay.

    onnxsim does it; onnxruntime computes what onnxsim leaves, or all where it fails (the report says why).
    Raises ModelError when onnxruntime can't compute a constant either.
    """
    onnxsim = _onnxsim()
    report = PassReport("fold_constants")
    before = model.graph.num_nodes()
    try:
        light, weights = light_proto(model)
        proto, _ = onnxsim.simplify(light, skip_fuse_bn=True, skipped_optimizers=_SKIPPED, certify=False)
        _restore_metadata(light, proto)
        _adopt(model, proto, weights)
    except Exception as error:  # onnxsim raises RuntimeError, ValueError and onnx's own errors
        report.refused.append(("the whole graph", f"onnxsim can't simplify it: {error}"))
    compute_constants(model)
    if model.graph.num_nodes() != before:
        report.applied.append(f"{before} nodes -> {model.graph.num_nodes()}")
    return report


def _onnxsim() -> Any:
    """The module, imported when first needed, without torch: it would import it, where it is installed, for a
    quantizer that nobody here calls, which takes 2 s and 200 MB.
    """
    hidden = "torch" not in sys.modules
    if hidden:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("onnxsim")
    finally:
        if hidden:
            del sys.modules["torch"]


def _restore_metadata(before: onnx.ModelProto, after: onnx.ModelProto) -> None:
    """Gives nodes that are still there their metadata again (see `ir/rounding.py`), which onnxsim drops."""
    known = {node.output[0]: node for node in before.graph.node if node.metadata_props}
    for node in after.graph.node:
        old = known.get(node.output[0]) if node.output and not node.metadata_props else None
        if old is not None and old.op_type == node.op_type:
            node.metadata_props.extend(old.metadata_props)


def compute_constants(model: ir.Model) -> None:
    """Computes what depends on no input, by onnxruntime, in place.

    DequantizeLinear of a constant stays, and what reads it: the integers are what quantize_operators wants;
    of 4 bits or with blocks of scales it is computed.
    ModelError when onnxruntime can't compute a constant.
    """
    while _compute_rest(model.graph):
        _adopt(model, *light_proto(model))  # more shapes are known now


def _compute_rest(graph: ir.Graph) -> bool:
    """Runs the nodes that depend on no input once, and keeps what the others read of them as initializers.

    False when there are none.
    """
    at_run_time = set(runtime_nodes(graph))
    kept: set[ir.Node] = set()
    nodes = []
    for node in graph:
        if node in at_run_time or not _of_constants(node, graph, at_run_time):
            continue
        if _keeps_integers(node) or any(
            value is not None and value.producer() in kept for value in node.inputs
        ):
            kept.add(node)
        else:
            nodes.append(node)
    if not nodes:
        return False
    computed = set(nodes)
    wanted = [
        value
        for node in nodes
        for value in node.outputs
        if value.is_graph_output() or any(use.node not in computed for use in value.uses())
    ]
    for value, data in zip(wanted, _run(graph, nodes, wanted), strict=True):
        constant = new_constant(graph, f"{value.name}.value", data)
        if value.is_graph_output():  # an output stays a node's result
            port = like(value, f"{value.name}.kept")
            graph.insert_before(nodes[0], ir.node("Identity", [constant], outputs=[port], name=value.name))
            take_over(value, port)
        else:
            value.replace_all_uses_with(constant)
    graph.remove(nodes, safe=True)
    return True


def _keeps_integers(node: ir.Node) -> bool:
    """Whether the node dequantizes what arithmetic on integers takes: no blocks, no fewer than 8 bits."""
    if node.op_type != "DequantizeLinear" or node.inputs[0] is None:
        return False
    blocked = node.attributes.get("block_size")
    narrow = node.inputs[0].dtype in (ir.DataType.INT4, ir.DataType.UINT4)
    return not narrow and (blocked is None or blocked.as_int() == 0)


def _of_constants(node: ir.Node, graph: ir.Graph, at_run_time: set[ir.Node]) -> bool:
    """Whether all that the node reads is known; Identity keeps a constant apart from the output it is."""
    if node.op_type == "Identity" and node.outputs[0].is_graph_output() and array(node.inputs[0]) is not None:
        return False
    if any(value.dtype in _NOT_COMPUTED for value in node.outputs):
        return False
    sources = [value for value in node.inputs if value is not None]
    known = all(value.producer() not in at_run_time and value not in graph.inputs for value in sources)
    return known or (node.op_type in ("Shape", "Size") and static_shape(sources[0]) is not None)


def _run(graph: ir.Graph, nodes: list[ir.Node], wanted: list[ir.Value]) -> list[np.ndarray]:
    import onnxruntime

    read = {value for node in nodes for value in node.inputs if value is not None}
    inner = {value for node in nodes for body_node in inner_nodes(node) for value in body_node.inputs}
    read |= {value for value in graph.initializers.values() if value in inner}
    made = {value for node in nodes for value in node.outputs}
    heavy = {
        value for value in read if value.const_value is not None and value.const_value.nbytes >= HEAVY_BYTES
    }
    outside = [value for value in read - made if value.const_value is None or value in heavy]
    ports = [
        onnx.helper.make_tensor_value_info(v.name or "", int(_kind_of(v)), static_shape(v)) for v in outside
    ]
    part = onnx.helper.make_graph(
        [ir.to_proto(node) for node in nodes],
        "constants",
        ports,
        [onnx.helper.make_empty_tensor_value_info(value.name or "") for value in wanted],
        [ir.to_proto(_named(value)) for value in read - heavy if value.const_value is not None],
    )
    model = onnx.helper.make_model(part, opset_imports=[onnx.helper.make_opsetid("", 23)], ir_version=11)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        given = {value.name: _known_or_zeros(value) for value in outside}
        run = onnxruntime.RunOptions()
        with _stopped_in_time(run) if _loops(nodes) else contextlib.nullcontext():
            return [np.asarray(item) for item in session.run([value.name for value in wanted], given, run)]
    except ModelError:
        raise
    except Exception as error:  # onnxruntime's errors share no base class
        raise ModelError(f"the model's constants can't be computed: {error}") from error


def _loops(nodes: list[ir.Node]) -> bool:
    every = [inner for node in nodes for inner in (node, *inner_nodes(node))]
    return any(node.op_type == "Loop" for node in every)


@contextlib.contextmanager
def _stopped_in_time(run: Any) -> Iterator[None]:
    """Ends a run of onnxruntime that takes longer than LIMIT_S. ModelError then."""
    timer = threading.Timer(LIMIT_S, setattr, (run, "terminate", True))
    timer.start()
    try:
        yield
    except Exception as error:
        if not run.terminate:
            raise
        raise ModelError(
            f"a loop over constants does not end within {LIMIT_S:g} s; where it is in a branch that is never "
            "taken, take it out of the model"
        ) from error
    finally:
        timer.cancel()


def _named(value: ir.Value) -> ir.TensorProtocol:
    assert value.const_value is not None
    value.const_value.name = value.name
    return value.const_value


def _known_or_zeros(value: ir.Value) -> np.ndarray:
    """A constant's array. What is read from outside and is none is only asked for its shape."""
    if value.const_value is not None:
        return value.const_value.numpy()
    return np.zeros(static_shape(value) or (), np.float32)


def _kind_of(value: ir.Value) -> ir.DataType:
    """A constant's dtype; of the others none, and onnxruntime takes not all of them, so f32 stands for it."""
    known = value.const_value is not None and value.dtype is not None
    return value.dtype if known and value.dtype is not None else ir.DataType.FLOAT


def _adopt(model: ir.Model, proto: onnx.ModelProto, weights: Weights) -> None:
    folded = ir.from_proto(infer_shapes(proto))
    give_back(folded, weights)
    onnx_ir_passes.RemoveInitializersFromInputsPass()(folded)
    onnx_ir_passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(folded)
    folded.graph.sort()
    model.graph = folded.graph
