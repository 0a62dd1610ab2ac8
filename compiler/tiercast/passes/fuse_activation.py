"""Activations go into the node before them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import array, erase, new_constant, take_over
from tiercast.ir.report import PassReport, label
from tiercast.ir.slots import has_operand, put_operand, set_attribute
from tiercast.ops.program import Instruction
from tiercast.ops.registry import op_of, shape
from tiercast.passes.epilogue import epilogue_op, is_finished, mark_inner, producer_behind, program_of

_PLAIN = frozenset({"relu", "sigmoid", "tanh", "hard_swish", "silu", "gelu", "gelu_tanh", "mish", "softplus"})


@dataclass(frozen=True)
class Activation:
    """kind: a value of the kernels' activation enum; slope: one per channel, for prelu."""

    kind: str
    alpha: float = 0.0
    beta: float = 0.0
    slope: np.ndarray | None = None


def fuse_activation(model: ir.Model) -> PassReport:
    """An elementwise activation after a node with an epilogue becomes that node's `activation`, in place.

    Looks through reshapes. Refuses a producer that is read elsewhere or whose epilogue is finished.
    """
    report = PassReport("fuse_activation")
    for node in list(model.graph):
        take_activation(model.graph, node, report)
    return report


def take_activation(graph: ir.Graph, node: ir.Node, report: PassReport) -> None:
    """Fuses one node, if it is an activation and its producer takes it; the report says what happened."""
    activation = activation_of(node)
    source = node.inputs[0] if activation is not None else None
    if activation is None or source is None:
        return
    producer, shared = producer_behind(source)
    if producer is None or epilogue_op(producer) is None:
        return
    refusal = shared or is_finished(producer) or _refusal(node, source, producer, activation)
    if refusal is not None:
        report.refuse(node, f"into {label(producer)}: {refusal}")
        return
    _apply(graph, producer, activation)
    take_over(node.outputs[0], source)
    mark_inner(producer, source)
    erase(graph, [node])
    report.apply(node, f"{activation.kind} into {label(producer)}")


def activation_of(node: ir.Node) -> Activation | None:
    """The activation that a Pointwise node computes of its input 0, None when it is something else."""
    program = program_of(node)
    if program is None or len(program) != 1 or program[0].operands[0] != "i0" or node.inputs[0] is None:
        return None
    if node.inputs[0].dtype != ir.DataType.FLOAT or array(node.inputs[0]) is not None:
        return None
    line = program[0]
    if len(node.inputs) == 1:
        return _uniform(line)
    if line.op == "prelu" and len(node.inputs) == 2 and line.operands[1] == "i1":
        slope = array(node.inputs[1])
        return None if slope is None else Activation("prelu", slope=slope)
    return None


def _uniform(line: Instruction) -> Activation | None:
    numbers = [float(item) for item in line.operands[1:] if not isinstance(item, str)]
    if len(numbers) != len(line.operands) - 1:
        return None
    if line.op in _PLAIN:
        return Activation(line.op)
    if line.op == "clip":
        return Activation("relu") if numbers == [0.0, np.inf] else Activation("clip", numbers[0], numbers[1])
    if line.op == "max":
        return Activation("relu") if numbers == [0.0] else Activation("clip", numbers[0], np.inf)
    if line.op == "min":
        return Activation("clip", -np.inf, numbers[0])
    if line.op in ("leaky_relu", "prelu"):
        return Activation("leaky_relu", numbers[0])
    if line.op == "elu":
        return Activation("elu", numbers[0])
    return Activation("hard_sigmoid", numbers[0], numbers[1]) if line.op == "hard_sigmoid" else None


def _refusal(node: ir.Node, source: ir.Value, producer: ir.Node, activation: Activation) -> str | None:
    if shape(node.outputs[0]) != shape(source):
        return "it broadcasts to a larger shape"
    if activation.slope is None:
        return None
    if not has_operand(op_of(producer).inputs, "slope"):
        return f"{producer.op_type} has no slope"
    channels = shape(producer.outputs[0])[-1]
    if activation.slope.size not in (1, channels) or (
        activation.slope.size > 1 and activation.slope.shape[-1] != channels
    ):
        return f"its slope of shape {activation.slope.shape} is not one per channel ({channels})"
    return "it stands behind a reshape of the channels" if shape(source)[-1] != channels else None


def _apply(graph: ir.Graph, producer: ir.Node, activation: Activation) -> None:
    set_attribute(producer, "activation", activation.kind)
    set_attribute(producer, "alpha", float(activation.alpha))
    set_attribute(producer, "beta", float(activation.beta))
    if activation.slope is not None:
        channels = shape(producer.outputs[0])[-1]
        slope = np.broadcast_to(activation.slope.reshape(-1), (channels,)).astype(np.float32)
        value = new_constant(graph, f"{producer.outputs[0].name}.slope", slope)
        put_operand(producer, op_of(producer).inputs, "slope", value)
