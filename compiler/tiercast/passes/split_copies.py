"""Model inputs whose copy is read early and joined late are copied twice."""

from __future__ import annotations

import onnx_ir as ir

from tiercast.ir.edit import insert_before, like
from tiercast.ir.report import PassReport, label
from tiercast.ops.registry import DOMAIN


def split_copies(model: ir.Model) -> PassReport:
    """Gives each Concat its own Copy of a model input that other nodes read as well, in place.

    One copy for all would be written as a window of the Concat's buffer: that buffer would live from the
    first step on, and the early readers, often the net's first convolution, would read pixels with gaps. The
    input is there anyway, so the second copy can wait until the Concat.
    """
    report = PassReport("split_copies")
    for node in list(model.graph):
        if node.domain != DOMAIN or node.op_type != "Copy" or node.inputs[0] not in model.graph.inputs:
            continue
        users = list(dict.fromkeys(use.node for use in node.outputs[0].uses()))
        joins = [user for user in users if user.domain == DOMAIN and user.op_type == "Concat"]
        if len(users) == 1 or node.outputs[0].is_graph_output():
            continue
        for number, concat in enumerate(joins):
            _copy_for(node, concat, f"{node.outputs[0].name}.joined{number}")
            report.apply(node, f"copied again for {label(concat)}")
    return report


def _copy_for(copy: ir.Node, concat: ir.Node, name: str) -> None:
    value = like(copy.outputs[0], name)
    again = ir.Node(
        DOMAIN, "Copy", copy.inputs, copy.attributes.values(), outputs=[value], name=f"{name}/Copy"
    )
    insert_before(concat, [again])
    for index, operand in enumerate(concat.inputs):
        if operand is copy.outputs[0]:
            concat.replace_input_with(index, value)
