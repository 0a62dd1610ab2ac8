"""Half-precision models are computed in f32: their f16 and bf16 values become f32, ports keep their types."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import new_constant
from tiercast.ir.report import PassReport
from tiercast.ir.support import runtime_nodes

_HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
_NARROW = (*_HALVES, ir.DataType.DOUBLE)


def widen_halves(model: ir.Model) -> PassReport:
    """Makes every f16 and bf16 value f32, in place, with casts at the ports of the graph.

    A Cast to half precision still rounds: it becomes a cast there and back. What the model computes in half
    precision is not rounded after each step any more, so results are nearer to exact ones, and what would
    overflow only inside stays finite. (`choose_precision` takes values back to f16 where a target computes
    in it.) Constants that are computed, and only they, are not rounded to bf16, which nobody could fold.
    CastLike becomes a Cast to the type it copies.
    """
    report = PassReport("widen_halves")
    _name_casts(model.graph)
    halves = [value for graph in _graphs(model.graph) for value in _values(graph) if value.dtype in _HALVES]
    if not halves and not any("softmax_precision" in node.attributes for node in model.graph):
        return report
    at_run_time = set(runtime_nodes(model.graph))
    for graph in _graphs(model.graph):
        for node in list(graph):
            _widen_attributes(node)
            if node.op_type == "Cast" and node.attributes["to"].as_int() in map(int, _HALVES):
                _round(node, graph is model.graph and node not in at_run_time)
        for value in list(graph.initializers.values()):
            if value.dtype in _HALVES and value.const_value is not None:
                wide = new_constant(graph, f"{value.name}.f32", value.const_value.numpy().astype(np.float32))
                value.replace_all_uses_with(wide)
    for port in model.graph.inputs:
        if port.dtype in _HALVES:
            _widen_input(model.graph, port, report)
    kinds = {value: value.dtype for value in model.graph.outputs}
    for graph in _graphs(model.graph):
        for node in graph:
            for value in node.outputs:
                if value.dtype in _HALVES and not _is_rounded(value):
                    value.type = ir.TensorType(ir.DataType.FLOAT)
        for value in graph.inputs if graph is not model.graph else ():
            if value.dtype in _HALVES:
                value.type = ir.TensorType(ir.DataType.FLOAT)
    for value, kind in kinds.items():
        if kind in _HALVES and value.dtype == ir.DataType.FLOAT:
            _narrow_output(model.graph, value, kind, report)
    return report


def _graphs(graph: ir.Graph) -> list[ir.Graph]:
    """The graph and those within its nodes."""
    found = [graph]
    for node in graph:
        for attribute in node.attributes.values():
            inner = attribute.value if attribute.type == ir.AttributeType.GRAPH else None
            if isinstance(inner, ir.Graph):
                found += _graphs(inner)
    return found


def _values(graph: ir.Graph) -> list[ir.Value]:
    made = [value for node in graph for value in node.outputs]
    return [*graph.inputs, *graph.initializers.values(), *made]


def _name_casts(graph: ir.Graph) -> None:
    for inner in _graphs(graph):
        for node in inner:
            target = node.inputs[1] if node.op_type == "CastLike" else None
            if target is not None and target.dtype is not None:
                node.op_type = "Cast"
                node.resize_inputs(1)
                node.attributes["to"] = ir.AttrInt64("to", int(target.dtype))


def _widen_attributes(node: ir.Node) -> None:
    for name in ("dtype", "output_dtype", "stash_type", "softmax_precision"):
        attribute = node.attributes.get(name)
        wide = _NARROW if name in ("stash_type", "softmax_precision") else _HALVES
        if attribute is not None and attribute.as_int() in map(int, wide):
            node.attributes[name] = ir.AttrInt64(name, int(ir.DataType.FLOAT))
    tensor = node.attributes.get("value")
    if tensor is not None and tensor.type == ir.AttributeType.TENSOR and tensor.as_tensor().dtype in _HALVES:
        wide_array = tensor.as_tensor().numpy().astype(np.float32)
        node.attributes["value"] = ir.AttrTensor("value", ir.tensor(wide_array))


def _is_rounded(value: ir.Value) -> bool:
    """Whether the value is what a Cast to half precision made."""
    node = value.producer()
    return (
        node is not None
        and node.op_type == "Cast"
        and int(value.dtype or 0) == node.attributes["to"].as_int()
    )


def _round(node: ir.Node, is_constant: bool) -> None:
    """Puts a cast back to f32 behind a cast to half precision, for all that reads it but graph outputs."""
    source, out, graph = node.inputs[0], node.outputs[0], node.graph
    assert source is not None and isinstance(graph, ir.Graph)
    if source.const_value is not None and not out.is_graph_output():
        rounded = source.const_value.numpy().astype(out.dtype.numpy()).astype(np.float32)  # type: ignore[union-attr]
        out.replace_all_uses_with(new_constant(graph, f"{out.name}.f32", rounded))
        return
    unfoldable = is_constant and out.dtype == ir.DataType.BFLOAT16 and not out.is_graph_output()
    if source.dtype == out.dtype or unfoldable:  # the source is f32 from now on, or becomes it
        out.type = ir.TensorType(ir.DataType.FLOAT)
        node.attributes["to"] = ir.AttrInt64("to", int(ir.DataType.FLOAT))
        return
    if not out.uses():
        return
    readers = [(use.node, use.idx) for use in out.uses()]
    back = _cast(out, ir.DataType.FLOAT, f"{out.name}.f32")
    graph.insert_after(node, [back])
    for reader, index in readers:
        reader.replace_input_with(index, back.outputs[0])


def _cast(source: ir.Value, kind: ir.DataType, name: str) -> ir.Node:
    made = ir.Value(name=name, shape=source.shape, type=ir.TensorType(kind))
    return ir.node("Cast", [source], {"to": int(kind)}, outputs=[made], name=name)


def _widen_input(graph: ir.Graph, port: ir.Value, report: PassReport) -> None:
    readers = [(use.node, use.idx) for use in port.uses()]
    cast = _cast(port, ir.DataType.FLOAT, f"{port.name}.f32")
    first = next(iter(graph), None)
    if first is None or not readers:
        return
    graph.insert_before(first, [cast])
    for reader, index in readers:
        reader.replace_input_with(index, cast.outputs[0])
    report.applied.append(f"input {port.name!r} is cast to f32")


def _narrow_output(graph: ir.Graph, value: ir.Value, kind: ir.DataType, report: PassReport) -> None:
    name = value.name or "output"
    value.name = f"{name}.f32"
    cast = _cast(value, kind, name)
    node = value.producer()
    assert node is not None
    graph.insert_after(node, [cast])
    graph.outputs[graph.outputs.index(value)] = cast.outputs[0]
    report.applied.append(f"output {name!r} is cast from f32")
