"""Operators that only move data move integers: they change places with what dequantizes and quantizes
around them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import array, erase, new_constant, only_user, remove_dead, take_over
from tiercast.ir.report import PassReport
from tiercast.passes.quantization import BYTES, Quantization, behind, quantization_of

# What is moved is input 0, or all inputs. Each result's elements are elements of these (pads: also zeros).
_ONE = frozenset(
    [
        *(
            "Reshape",
            "Flatten",
            "Squeeze",
            "Unsqueeze",
            "Transpose",
            "Slice",
            "Split",
            "Gather",
            "GatherElements",
            "GatherND",
        ),
        *("Expand", "Tile", "DepthToSpace", "SpaceToDepth", "Pad", "Resize", "MaxPool", "Identity"),
    ]
)
_ALL = frozenset({"Concat"})
MOVERS = _ONE | _ALL


def move_quantization(model: ir.Model) -> PassReport:
    """reshape(dequantize(q)) -> dequantize(reshape(q)), quantize(reshape(x)) -> reshape(quantize(x)),
    and likewise
    for all that only moves elements, or keeps the largest; quantize(dequantize(q)) -> q. In place.

    Refuses what would move integers of different scales (a concatenation), or fill in what is no integer.
    """
    report = PassReport("move_quantization")
    _fold_quantized(model.graph)
    for node in list(model.graph):
        if node.domain == "" and node.op_type in MOVERS:
            _sink(model.graph, node, report)
    for node in reversed(list(model.graph)):
        if node.op_type == "QuantizeLinear" and node.domain == "":
            _hoist(model.graph, node, report)
    for node in list(model.graph):
        _cancel(node, report)
    remove_dead(model.graph)
    return report


def moved_inputs(node: ir.Node) -> list[int]:
    """Which inputs hold the data that a node of MOVERS moves."""
    return list(range(len(node.inputs))) if node.op_type in _ALL else [0]


def refusal(node: ir.Node) -> str | None:
    """Why a node of MOVERS does more than move its data, None when it does not."""
    if node.op_type == "Resize" and _text(node, "mode", "nearest") != "nearest":
        return "it interpolates"
    if node.op_type == "MaxPool" and len(node.outputs) > 1 and node.outputs[1].uses():
        return "its indices are read"
    return None


def with_integers(
    node: ir.Node, integers: list[ir.Value], how: Quantization, graph: ir.Graph
) -> ir.Node | None:
    """A copy of a mover that moves `integers`; None when it fills in a value that no integer stands for."""
    inputs = list(node.inputs)
    for index, value in zip(moved_inputs(node), integers, strict=True):
        inputs[index] = value
    if node.op_type == "Pad" and _text(node, "mode", "constant") == "constant":
        filled = _fill(node, how)
        if filled is None:
            return None
        inputs += [None] * (3 - len(inputs))
        inputs[2] = new_constant(graph, f"{node.outputs[0].name}.fill", filled)
    outputs = [
        ir.Value(name=f"{value.name}.q", shape=value.shape, type=ir.TensorType(how.kind))
        for value in node.outputs
    ]
    return ir.Node(
        "",
        node.op_type,
        inputs,
        list(node.attributes.values()),
        outputs=outputs,
        name=f"{node.name or outputs[0].name}.q",
    )


def dequantize_like(node: ir.Node, integers: ir.Value, name: str) -> ir.Node:
    """A copy of a DequantizeLinear, of other integers."""
    out = ir.Value(name=name, shape=integers.shape, type=ir.TensorType(ir.DataType.FLOAT))
    return ir.Node(
        "",
        "DequantizeLinear",
        [integers, *node.inputs[1:]],
        list(node.attributes.values()),
        outputs=[out],
        name=name,
    )


def _sink(graph: ir.Graph, node: ir.Node, report: PassReport) -> None:
    sources = [behind(node.inputs[index]) for index in moved_inputs(node)]
    known = [source for source in sources if source is not None]
    if not known:
        return
    integers, how = known[0]
    if not how.uniform:
        if node.op_type == "Transpose" and array(integers) is not None:
            _transpose_constant(graph, node, integers, how, report)
        return
    if len(known) < len(sources) or not all(other.same_as(how) for _, other in known):
        report.refuse(node, "what it joins has several scales, or is not quantized")
        return
    reason = refusal(node)
    first = node.inputs[moved_inputs(node)[0]]
    producer = first.producer() if first is not None else None
    moved = with_integers(node, [value for value, _ in known], how, graph) if reason is None else None
    if moved is None or producer is None:
        report.refuse(node, reason or "it fills in what no integer stands for")
        return
    made = [
        dequantize_like(producer, out, f"{old.name}.real")
        for out, old in zip(moved.outputs, node.outputs, strict=True)
        if old.name
    ]
    graph.insert_before(node, [moved, *made])
    for old, new in zip([value for value in node.outputs if value.name], made, strict=True):
        take_over(old, new.outputs[0])
    erase(graph, [node])
    report.apply(node, "it moves integers")


def _transpose_constant(
    graph: ir.Graph, node: ir.Node, integers: ir.Value, how: Quantization, report: PassReport
) -> None:
    data, producer = array(integers), node.inputs[0].producer() if node.inputs[0] is not None else None
    assert data is not None and producer is not None and how.axis is not None
    perm = (
        list(node.attributes["perm"].as_ints()) if "perm" in node.attributes else list(range(data.ndim))[::-1]
    )
    moved = new_constant(graph, f"{integers.name}.transposed", np.ascontiguousarray(np.transpose(data, perm)))
    made = dequantize_like(producer, moved, f"{node.outputs[0].name}.real")
    made.attributes["axis"] = ir.AttrInt64("axis", perm.index(how.axis))
    graph.insert_before(node, [made])
    take_over(node.outputs[0], made.outputs[0])
    erase(graph, [node])
    report.apply(node, "a transposed constant")


def _hoist(graph: ir.Graph, node: ir.Node, report: PassReport) -> None:
    """quantize(move(x)) -> move(quantize(x)), as far up as it goes."""
    how, source = quantization_of(node), node.inputs[0]
    mover = source.producer() if source is not None else None
    if how is None or not how.uniform or how.kind not in BYTES or mover is None or mover.domain != "":
        return
    if (
        mover.op_type not in MOVERS
        or source is None
        or only_user(source) is not node
        or refusal(mover) is not None
    ):
        return
    if any(len(mover.outputs) > 1 and value.uses() and value is not source for value in mover.outputs):
        return
    pieces = [mover.inputs[index] for index in moved_inputs(mover)]
    if any(piece is None or array(piece) is not None for piece in pieces):
        return
    quantized = [
        _quantize_like(node, piece, f"{source.name}.part{at}")
        for at, piece in enumerate(pieces)
        if piece is not None
    ]
    moved = with_integers(mover, [item.outputs[0] for item in quantized], how, graph)
    if moved is None:
        report.refuse(mover, "it fills in what no integer stands for")
        return
    place = mover.outputs.index(source) if source in mover.outputs else 0
    graph.insert_before(node, [*quantized, moved])
    take_over(node.outputs[0], moved.outputs[place])
    erase(graph, [node, mover])
    report.apply(mover, "it moves integers")
    for item in quantized:
        _hoist(graph, item, report)


def _quantize_like(node: ir.Node, source: ir.Value, name: str) -> ir.Node:
    out = ir.Value(name=f"{name}.q", shape=source.shape, type=node.outputs[0].type)
    return ir.Node(
        "",
        "QuantizeLinear",
        [source, *node.inputs[1:]],
        list(node.attributes.values()),
        outputs=[out],
        name=f"{name}.q",
    )


def _cancel(node: ir.Node, report: PassReport) -> None:
    how = quantization_of(node) if node.op_type == "QuantizeLinear" else None
    source = behind(node.inputs[0]) if how is not None else None
    if how is None or source is None or not source[1].same_as(how):
        return
    integers, out = source[0], node.outputs[0]
    if out.is_graph_output():
        if integers.producer() is None or integers.is_graph_output():
            return
        take_over(out, integers)
    else:
        out.replace_all_uses_with(integers)
    report.apply(node, "it quantizes what has just been dequantized alike")


def _fold_quantized(graph: ir.Graph) -> None:
    """QuantizeLinear of a constant (weights of models that were trained quantized) is a constant."""
    for node in list(graph):
        how = quantization_of(node) if node.op_type == "QuantizeLinear" else None
        data = array(node.inputs[0]) if how is not None else None
        if (
            how is None
            or data is None
            or how.kind not in BYTES
            or (how.scale == 0).any()
            or node.outputs[0].is_graph_output()
        ):
            continue
        along = [1] * data.ndim
        if how.axis is not None:
            along[how.axis] = -1
        scale, zero = (
            item.reshape(along) if how.axis is not None else item[0] for item in (how.scale, how.zero)
        )
        limits = (-128, 127) if how.kind == ir.DataType.INT8 else (0, 255)
        whole = np.clip(np.rint(data.astype(np.float32) / scale) + zero, *limits).astype(how.kind.numpy())
        node.outputs[0].replace_all_uses_with(new_constant(graph, f"{node.outputs[0].name}.value", whole))
    remove_dead(graph)


def _fill(node: ir.Node, how: Quantization) -> np.ndarray | None:
    """The integer that stands for what a Pad fills in, if exactly one does."""
    value = node.inputs[2] if len(node.inputs) > 2 else None
    data = np.zeros(1, np.float32) if value is None else array(value)
    if data is None or data.size != 1:
        return None
    real = float(data.reshape(-1)[0])
    whole = round(real / float(how.one_scale)) + int(how.zero[0])
    limits = (-128, 127) if how.kind == ir.DataType.INT8 else (0, 255)
    if not limits[0] <= whole <= limits[1] or abs(
        (whole - int(how.zero[0])) * float(how.one_scale) - real
    ) > 1e-6 * abs(real):
        return None
    return np.asarray(whole, how.kind.numpy())


def _text(node: ir.Node, name: str, default: str) -> str:
    found = node.attributes.get(name)
    return default if found is None else str(found.value)
