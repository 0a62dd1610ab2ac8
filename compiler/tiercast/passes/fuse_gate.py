"""Gated convolutions: act(f) * act(g), where f and g are halves of one convolution's channels."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from tiercast.ir.edit import array, erase, insert_before, like, only_user, take_over
from tiercast.ir.report import PassReport
from tiercast.ops.registry import DOMAIN, attr, op_of, shape
from tiercast.passes.epilogue import is_finished, program_of
from tiercast.passes.fuse_activation import Activation, activation_of


@dataclass(frozen=True)
class _Half:
    """A slice of the convolution's channels, and what stands between it and the product."""

    slice: ir.Node
    start: int
    size: int
    activation: ir.Node | None = None


def fuse_gate(model: ir.Model) -> PassReport:
    """A gated convolution with its activations and product becomes one Conv2d that is `gated`, in place.

    Its sums are activated and multiplied while they lie in cache, and what it reads is read once.
    """
    report = PassReport("fuse_gate")
    for node in list(model.graph):
        if node.domain != DOMAIN or node.op_type != "Conv2d":
            continue
        halves = _halves(node)
        product = _product(halves) if halves is not None else None
        if halves is None or product is None:
            continue
        refusal = _refusal(node, halves)
        if refusal is not None:
            report.refuse(node, refusal)
            continue
        _fuse(model.graph, node, halves, product)
        report.apply(node, f"{halves[0].size} channels and their gates")
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
        follower = only_user(user.outputs[0])
        activation = follower if follower is not None and activation_of(follower) is not None else None
        found.append(_Half(user, starts[-1], sizes[-1], activation))
    found.sort(key=lambda half: half.start)
    covers = (
        found[0].start == 0
        and found[0].size == found[1].size == found[1].start == shape(out)[-1] - found[1].start
    )
    return found if covers else None


def _product(halves: list[_Half]) -> ir.Node | None:
    """The node whose two factors are the halves, each through at most one activation."""
    ends = []
    for half in halves:
        user = only_user((half.activation or half.slice).outputs[0])
        program = program_of(user)
        if program is None or len(program) != 1 or program[0].op != "mul":
            return None
        ends.append(user)
    return ends[0] if ends[0] is ends[1] else None


def _refusal(node: ir.Node, halves: list[_Half]) -> str | None:
    if attr(node, "group") != 1:
        return f"its {attr(node, 'group')} groups would have to be split as well"
    if any(_activation(half).slope is not None for half in halves):
        return "a half has a slope for each channel"
    if is_finished(node) is not None or attr(node, "residual_mode") != "none":
        return "it has an activation or a residual of both halves"
    return None if array(node.inputs[1]) is not None else "its weights are not constant"


def _activation(half: _Half) -> Activation:
    found = activation_of(half.activation) if half.activation is not None else None
    return found or Activation("none")


def _fuse(graph: ir.Graph, node: ir.Node, halves: list[_Half], product: ir.Node) -> None:
    feature, gate = (_activation(half) for half in halves)
    attributes = {name: attr(node, name) for name in op_of(node).attributes} | {
        "activation": feature.kind, "alpha": feature.alpha, "beta": feature.beta, "gated": 1,
        "gate_activation": gate.kind, "gate_alpha": gate.alpha, "gate_beta": gate.beta,
    }  # fmt: skip
    made = ir.Node(
        DOMAIN,
        node.op_type,
        node.inputs,
        [ir.convenience.convert_attribute(name, value) for name, value in attributes.items()],
        outputs=[like(product.outputs[0])],
        name=node.name,
    )
    insert_before(product, [made])
    take_over(product.outputs[0], made.outputs[0])
    between = [half.activation for half in halves if half.activation is not None]
    erase(graph, [product, *between, *(half.slice for half in halves), node])
