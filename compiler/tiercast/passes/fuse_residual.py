"""Sums and products with another value go into the convolution or matmul before them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import array, erase, new_constant, only_user, take_over
from tiercast.ir.report import PassReport, label
from tiercast.ir.slots import get_operand, has_operand, put_operand, set_attribute
from tiercast.ops.registry import attr, op_of, shape
from tiercast.passes.epilogue import epilogue_op, producer_behind, program_of
from tiercast.passes.fuse_activation import take_activation


@dataclass(frozen=True)
class _Pair:
    """`node` computes add or mul of two inputs; `at` is the one whose producer is to take the other up."""

    node: ir.Node
    kind: str
    at: int

    @property
    def source(self) -> ir.Value:
        value = self.node.inputs[self.at]
        assert value is not None
        return value

    @property
    def other(self) -> ir.Value:
        value = self.node.inputs[1 - self.at]
        assert value is not None
        return value


def fuse_residual(model: ir.Model) -> PassReport:
    """x + conv(...) and x * conv(...) become conv's residual, x + constant its bias, in place.

    residual_mode: add when the producer has no activation (one that follows goes in too), else add_after;
    mul_after for products. Run it after fuse_activation.
    The fused node moves to where the sum stood. Of two producers the later one takes the sum: the earlier
    one's result exists by then.
    """
    report = PassReport("fuse_residual")
    places = {node: index for index, node in enumerate(model.graph)}
    for node in list(model.graph):
        kind = _kind(node)
        if kind is None:
            continue
        pairs = sorted(
            (_Pair(node, kind, at) for at in (0, 1)), key=lambda pair: _place(pair, places), reverse=True
        )
        refusals = []
        for pair in pairs:
            producer = pair.source.producer()
            refusal = _refusal(pair)
            if producer is not None and refusal is None:
                _fuse(model.graph, pair, producer, places)
                report.apply(node, f"{kind} into {label(producer)}")
                follower = only_user(producer.outputs[0])
                if follower is not None:
                    take_activation(model.graph, follower, report)
                break
            if producer is not None and epilogue_op(producer) is not None:
                refusals.append((node, f"into {label(producer)}: {refusal}"))
        else:
            for item in refusals:
                report.refuse(*item)
    return report


def _kind(node: ir.Node) -> str | None:
    """ "add" or "mul" when the node is just that, of two different f32 inputs."""
    program = program_of(node)
    if program is None or len(program) != 1 or program[0].op not in ("add", "mul") or len(node.inputs) != 2:
        return None
    if set(program[0].operands) != {"i0", "i1"} or node.outputs[0].dtype != ir.DataType.FLOAT:
        return None
    return program[0].op


def _place(pair: _Pair, places: Mapping[ir.Node, int]) -> int:
    producer = pair.source.producer()
    return places.get(producer, -1) if producer is not None else -1


def _refusal(pair: _Pair) -> str | None:
    producer, shared = producer_behind(pair.source)
    if producer is None or producer is not pair.source.producer():
        return "a reshape stands between"
    op = epilogue_op(producer)
    if op is None:
        return f"{producer.op_type} has no epilogue"
    if shared is not None:
        return shared
    if attr(producer, "residual_mode", "none") != "none":
        return "it has a residual already"
    if attr(producer, "gated", 0):
        return "it is gated"
    if shape(pair.source) != shape(pair.node.outputs[0]):
        return "it broadcasts to a larger shape"
    if _is_bias(pair, producer):
        return None
    if not has_operand(op.inputs, "residual"):
        return f"{producer.op_type} takes no residual"
    if shape(pair.other) != shape(pair.source):
        return f"the other operand's shape {shape(pair.other)} is not {shape(pair.source)}"
    return None


def _is_bias(pair: _Pair, producer: ir.Node) -> bool:
    """Whether the other operand is a constant row that the producer's bias can take."""
    data, inputs = array(pair.other), op_of(producer).inputs
    if (
        data is None
        or pair.kind != "add"
        or not has_operand(inputs, "bias")
        or attr(producer, "activation") != "none"
    ):
        return False
    bias = get_operand(producer, inputs, "bias")
    channels = shape(producer.outputs[0])[-1]
    row = data.size == 1 or (data.size == channels and data.shape[-1] == channels)
    return row and (bias is None or array(bias) is not None)


def _fuse(graph: ir.Graph, pair: _Pair, producer: ir.Node, places: dict[ir.Node, int]) -> None:
    op = op_of(producer)
    if _is_bias(pair, producer):
        _add_bias(graph, pair, producer)
    else:
        mode = (
            "mul_after"
            if pair.kind == "mul"
            else "add"
            if attr(producer, "activation") == "none"
            else "add_after"
        )
        set_attribute(producer, "residual_mode", mode)
        put_operand(producer, op.inputs, "residual", pair.other)
        graph.remove(producer)
        graph.insert_before(pair.node, producer)
        places[producer] = places[pair.node]
    take_over(pair.node.outputs[0], producer.outputs[0])
    erase(graph, [pair.node])


def _add_bias(graph: ir.Graph, pair: _Pair, producer: ir.Node) -> None:
    inputs = op_of(producer).inputs
    row, old = array(pair.other), array(get_operand(producer, inputs, "bias"))
    assert row is not None
    channels = shape(producer.outputs[0])[-1]
    total = np.broadcast_to(row.reshape(-1), (channels,)).astype(np.float32)
    if old is not None:
        total = total + old.reshape(-1)
    value = new_constant(graph, f"{producer.outputs[0].name}.bias", total.astype(np.float32))
    put_operand(producer, inputs, "bias", value)
