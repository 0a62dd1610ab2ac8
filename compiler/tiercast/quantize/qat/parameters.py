"""Weights and biases of a prepared graph: biases in steps of the sums, scales that follow the weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e import FakeQuantize

from tiercast.quantize import scheme
from tiercast.quantize.qat.capture import Traced
from tiercast.quantize.qat.fakes import ActivationObserver, PerChannelWeightObserver, RoundedBias
from tiercast.quantize.qat.points import leaf_of

# How much further than at the start a bias may go before its sums would leave s32.
_BIAS_ROOM = 4.0


def _rounded(graph: GraphModule) -> Iterator[tuple[Traced, RoundedBias]]:
    for node in graph.graph.nodes:
        if node.op == "call_module":
            part = graph.get_submodule(node.target)
            if isinstance(part, RoundedBias):
                yield node, part


def round_biases(graph: GraphModule) -> None:
    """Puts a RoundedBias before the bias of each product whose input and weight are fake-quantized."""
    for node in list(graph.graph.nodes):
        if node.op != "call_function" or len(node.args) < 3:
            continue
        x, weight, bias = node.args[:3]
        if not all(isinstance(item, Node) for item in (x, weight, bias)):
            continue
        source = leaf_of(x)
        if not (
            _is_fake(graph, source, ActivationObserver) and _is_fake(graph, weight, PerChannelWeightObserver)
        ):
            continue
        name = f"bias_of_{node.name}"
        graph.add_submodule(name, RoundedBias())
        with graph.graph.inserting_before(node):
            scales = [graph.graph.get_attr(f"{item.target}.scale") for item in (source, weight)]
            rounded = graph.graph.call_module(name, (bias, *scales))
        node.args = (x, weight, rounded, *node.args[3:])
    graph.recompile()


def follow_weights(graph: GraphModule) -> None:
    """Scales become those of the weights as they are now, behind the last step of training."""
    for node in graph.graph.nodes:
        if _is_fake(graph, node, PerChannelWeightObserver):
            with torch.no_grad():
                _submodule(graph, node.target)(_value(graph, node.args[0]))


def _is_fake(graph: GraphModule, node: Traced, observer: type) -> bool:
    part = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
    return isinstance(part, FakeQuantize) and isinstance(part.activation_post_process, observer)


def leave_room(graph: GraphModule) -> None:
    """No channel's weights get steps so fine that its bias would leave s32, now or after some training."""
    for node, part in _rounded(graph):
        assert part.largest is not None
        x, weight = (_submodule(graph, item.target.rpartition(".")[0]) for item in node.args[1:])
        least = part.largest * _BIAS_ROOM / (scheme.BIAS_LIMIT * x.scale)
        weight.activation_post_process.floor = least.clamp(min=float(scheme.SMALLEST_SCALE))


def _submodule(graph: GraphModule, name: str) -> Any:
    return graph.get_submodule(name)


def fix_biases(graph: GraphModule) -> None:
    """Each RoundedBias becomes the constant that it gives."""
    for node, part in list(_rounded(graph)):
        with torch.no_grad():
            values = [_value(graph, item) for item in node.args]
            fixed = nn.Parameter(part(*values), requires_grad=False)
        name = f"{node.target}_value"
        graph.register_parameter(name, fixed)
        with graph.graph.inserting_before(node):
            constant = graph.graph.get_attr(name)
        node.replace_all_uses_with(constant)
        graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _value(graph: GraphModule, node: Traced) -> Any:
    """What a node that depends on parameters only computes."""
    if isinstance(node, (list, tuple)):
        return [_value(graph, item) for item in node]
    if not isinstance(node, Node):
        return node
    if node.op == "get_attr":
        owner, _, name = str(node.target).rpartition(".")
        return getattr(graph.get_submodule(owner), name)
    arguments = [_value(graph, item) for item in node.args]
    named = {key: _value(graph, item) for key, item in node.kwargs.items()}
    function: Any = node.target
    return function(*arguments, **named)
