"""A number that multiplies a matmul's result becomes the matmul's `scale`."""

from __future__ import annotations

import onnx_ir as ir

from tiercast.ir.edit import erase, take_over
from tiercast.ir.report import PassReport, label
from tiercast.ir.slots import get_operand, set_attribute
from tiercast.ops.registry import attr, op_of
from tiercast.passes.epilogue import is_finished, producer_behind, program_of


def fuse_scale(model: ir.Model) -> PassReport:
    """matmul(a, b) * number, or / number, before bias and activation -> scale, in place."""
    report = PassReport("fuse_scale")
    for node in list(model.graph):
        factor = _factor(node)
        source = node.inputs[0] if node.inputs else None
        if factor is None or source is None:
            continue
        producer, shared = producer_behind(source)
        if producer is None or producer is not source.producer() or producer.op_type != "Matmul":
            continue
        refusal = shared or is_finished(producer) or _refusal(producer)
        if refusal is not None:
            report.refuse(node, f"into {label(producer)}: {refusal}")
            continue
        set_attribute(producer, "scale", float(attr(producer, "scale")) * factor)
        take_over(node.outputs[0], source)
        erase(model.graph, [node])
        report.apply(node, f"scale {factor} into {label(producer)}")
    return report


def _factor(node: ir.Node) -> float | None:
    program = program_of(node)
    if program is None or len(program) != 1 or len(node.inputs) != 1 or program[0].op not in ("mul", "div"):
        return None
    numbers = [item for item in program[0].operands if not isinstance(item, str)]
    if len(numbers) != 1 or node.outputs[0].dtype != ir.DataType.FLOAT:
        return None
    if program[0].op == "mul":
        return float(numbers[0])
    return 1.0 / float(numbers[0]) if program[0].operands[0] == "i0" and numbers[0] else None


def _refusal(producer: ir.Node) -> str | None:
    if get_operand(producer, op_of(producer).inputs, "bias") is not None:
        return "it has a bias, which the scale would not reach"
    return "it has a residual" if attr(producer, "residual_mode", "none") != "none" else None
