"""Gated convolutions: act(f) * act(g), where f and g are halves of one convolution's channels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import array, insert_before, new_constant, only_user, remove_dead, take_over
from tiercast.ir.report import PassReport
from tiercast.ir.slots import get_operand, put_operand
from tiercast.ops.registry import DOMAIN, attr, op_of, shape
from tiercast.passes.epilogue import is_finished, program_of
from tiercast.passes.fuse_activation import activation_of

_VECTOR_CHANNELS = (
    8  # a half of fewer, or of an odd number, wastes more lanes than the gate's pass over memory costs
)


@dataclass(frozen=True)
class _Half:
    slice: ir.Node
    start: int
    size: int


def fuse_gate(model: ir.Model) -> PassReport:
    """Splits the weights of a gated convolution into a feature and a gate convolution, in place.

    fuse_activation and fuse_residual then give each its activation and make the later one multiply
    (mul_after), so that nothing but the gated result is stored. Run it before them.
    """
    report = PassReport("fuse_gate")
    for node in list(model.graph):
        if node.domain != DOMAIN or node.op_type != "Conv2d":
            continue
        halves = _halves(node)
        if halves is None or not _meet_in_product(halves):
            continue
        refusal = _refusal(node, halves)
        if refusal is not None:
            report.refuse(node, refusal)
            continue
        for half in halves:
            _convolve_half(model.graph, node, half)
        report.apply(node, f"split into {halves[0].size} feature and {halves[1].size} gate channels")
    remove_dead(model.graph)
    return report


def _halves(node: ir.Node) -> list[_Half] | None:
    """The two channel slices that are all that reads the node's result, in channel order."""
    out = node.outputs[0]
    users = [use.node for use in out.uses()]
    if len(users) != 2 or out.is_graph_output() or any(user.op_type != "Slice" for user in users):
        return None
    found = []
    for user in users:
        starts, sizes = attr(user, "starts"), attr(user, "sizes")
        if any(starts[:-1]) or tuple(sizes[:-1]) != shape(out)[:-1]:
            return None
        found.append(_Half(user, starts[-1], sizes[-1]))
    found.sort(key=lambda half: half.start)
    covers = (
        found[0].start == 0
        and found[0].size == found[1].size == found[1].start == shape(out)[-1] - found[1].start
    )
    return found if covers else None


def _meet_in_product(halves: list[_Half]) -> bool:
    """Whether the halves, each through at most one activation, are the two factors of one product."""
    ends = []
    for half in halves:
        user = only_user(half.slice.outputs[0])
        if user is not None and activation_of(user) is not None:
            user = only_user(user.outputs[0])
        program = program_of(user)
        if program is None or len(program) != 1 or program[0].op != "mul":
            return False
        ends.append(user)
    return ends[0] is ends[1]


def _refusal(node: ir.Node, halves: list[_Half]) -> str | None:
    if attr(node, "group") != 1:
        return f"its {attr(node, 'group')} groups would have to be split as well"
    if halves[0].size % _VECTOR_CHANNELS:
        return f"a half of {halves[0].size} channels is no multiple of {_VECTOR_CHANNELS}"
    if is_finished(node) is not None or attr(node, "residual_mode") != "none":
        return "it has an activation or a residual of both halves"
    return None if array(node.inputs[1]) is not None else "its weights are not constant"


def _convolve_half(graph: ir.Graph, node: ir.Node, half: _Half) -> None:
    names = op_of(node).inputs
    out = half.slice.outputs[0]
    value = ir.Value(name=f"{out.name}.half", shape=out.shape, type=out.type)
    made = ir.Node(
        DOMAIN,
        node.op_type,
        node.inputs[:2],
        node.attributes.values(),
        outputs=[value],
        name=f"{out.name}/{node.op_type}",
    )
    for name in ("weight", "bias"):
        data = array(get_operand(node, names, name))
        if data is not None:
            part = np.ascontiguousarray(data[half.start : half.start + half.size])
            put_operand(made, names, name, new_constant(graph, f"{out.name}.{name}", part))
    insert_before(half.slice, [made])
    take_over(out, value)
