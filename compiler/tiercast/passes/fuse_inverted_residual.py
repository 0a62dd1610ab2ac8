"""A depthwise convolution and the 1x1 convolutions around it become one op: hidden rows stay in cache."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeGuard

import onnx_ir as ir

from tiercast.ir.edit import array, erase, insert_before, like, only_user, take_over
from tiercast.ir.report import PassReport
from tiercast.ir.slots import get_operand
from tiercast.ops.inverted_residual import LEAST_HIDDEN, InvertedResidual, band_rows, rows_together
from tiercast.ops.registry import DOMAIN, attr, op_of, shape, shape_key
from tiercast.tuning import Decisions

_OPERANDS = ("weight", "bias", "slope")
_ACTIVATION = ("activation", "alpha", "beta")

# What predictions reckon with: one core that streams far more slowly than it multiplies.
_MACS_PER_US = 50e3
_CACHE_BYTES, _CACHE_BYTES_PER_US, _MEMORY_BYTES_PER_US = 512 << 10, 100e3, 40e3


@dataclass(frozen=True)
class _Parts:
    """The convolutions of a block; `expand` and `project` may be missing."""

    expand: ir.Node | None
    filter: ir.Node
    project: ir.Node | None

    def nodes(self) -> list[ir.Node]:
        return [node for node in (self.expand, self.filter, self.project) if node is not None]


def fuse_inverted_residual(model: ir.Model, decisions: Decisions) -> PassReport:
    """1x1 conv -> depthwise 3x3 or 5x5 -> 1x1 conv, or either pair of them -> InvertedResidual, in place.

    Only where that is predicted or measured to be faster. Run it when epilogues are fused.
    """
    report = PassReport("fuse_inverted_residual")
    filters = [node for node in model.graph if node.domain == DOMAIN and node.op_type == "DepthwiseConv2d"]
    # A 1x1 convolution between two filters goes to the one that has more values to keep from memory.
    for node in sorted(filters, key=_hidden_values, reverse=True):
        parts = _parts_around(node)
        refusal = _refusal(node) or (None if len(parts.nodes()) > 1 else "no 1x1 convolution is next to it")
        if refusal is not None:
            report.refuse(node, refusal)
            continue
        ways = _ways(parts)
        times_us = {name: _predicted_us(parts, way) for name, way in ways.items()}
        computes = [part.outputs[0].name for part in parts.nodes()]
        chosen = decisions.decide(shape_key(_fused(parts)), times_us, computes)
        way = ways[chosen]
        if way is None:
            report.refuse(node, "its hidden values stay in cache anyway")
            continue
        _replace(model.graph, way)
        report.apply(node, f"{chosen} of {len(way.nodes())} convolutions")
    return report


def _hidden_values(node: ir.Node) -> int:
    x = node.inputs[0]
    assert x is not None
    return math.prod(shape(x)) + math.prod(shape(node.outputs[0]))


def _parts_around(node: ir.Node) -> _Parts:
    source, user = node.inputs[0], only_user(node.outputs[0])
    assert source is not None
    expand = source.producer() if only_user(source) is node else None
    return _Parts(
        expand if _is_pointwise(expand) and attr(expand, "residual_mode") == "none" else None,
        node,
        user if _is_pointwise(user) and user.inputs[0] is node.outputs[0] else None,
    )


def _weight_dims(node: ir.Node) -> tuple[int, ...]:
    weight = node.inputs[1]
    assert weight is not None
    return shape(weight)


def _is_pointwise(node: ir.Node | None) -> TypeGuard[ir.Node]:
    if node is None or node.domain != DOMAIN or node.op_type != "Conv2d" or array(node.inputs[1]) is None:
        return False
    if node.outputs[0].dtype != ir.DataType.FLOAT:
        return False
    if attr(node, "gated") or attr(node, "group") != 1:
        return False
    plain = not any(attr(node, "pads")) and attr(node, "strides") == [1, 1]
    return plain and _weight_dims(node)[2:] == (1, 1)


def _refusal(node: ir.Node) -> str | None:
    hidden, _, *kernel = _weight_dims(node)
    if node.outputs[0].dtype != ir.DataType.FLOAT:
        return "it is not in f32"
    if kernel not in ([3, 3], [5, 5]) or attr(node, "strides") not in ([1, 1], [2, 2]):
        return f"kernel {kernel} with strides {attr(node, 'strides')} has no tiles"
    if attr(node, "dilations") != [1, 1] or attr(node, "pad_mode") != "zero":
        return "it is dilated, or its pads are not zeros"
    if hidden < LEAST_HIDDEN or array(node.inputs[1]) is None:
        return f"its {hidden} filters are fewer than {LEAST_HIDDEN}, or computed"
    return None if attr(node, "residual_mode") == "none" else "it has a residual of its own"


def _ways(parts: _Parts) -> dict[str, _Parts | None]:
    """What may become one op, by name; None for leaving all as it is."""
    ways: dict[str, _Parts | None] = {"apart": None}
    if parts.expand is not None:
        ways["expand_filter"] = _Parts(parts.expand, parts.filter, None)
    if parts.project is not None:
        ways["filter_project"] = _Parts(None, parts.filter, parts.project)
    if parts.expand is not None and parts.project is not None:
        ways["whole"] = parts
    return ways


def _predicted_us(parts: _Parts, way: _Parts | None) -> float:
    """Of all `parts`, those of `way` fused: sums, what goes through memory, what is done again."""
    fused = [] if way is None else way.nodes()
    total = sum(op_of(node).macs(node) for node in parts.nodes()) / _MACS_PER_US
    for node, inner in ((parts.expand, parts.filter), (parts.filter, parts.project)):
        if node is not None and inner is not None and not (node in fused and inner in fused):
            total += _through_memory_us(node.outputs[0])
    return total if way is None else total + _again_us(way)


def _through_memory_us(value: ir.Value) -> float:
    size = 4 * math.prod(shape(value))
    return 2 * size / (_CACHE_BYTES_PER_US if size <= _CACHE_BYTES else _MEMORY_BYTES_PER_US)


def _again_us(way: _Parts) -> float:
    """Rows that bands on different threads both expand (a thread has half of them on average), and the
    weights, read anew for every step of rows.
    """
    out = way.filter.outputs[0]
    (_, height, width, _), taps = shape(out), _weight_dims(way.filter)[2]
    steps = math.ceil(height / rows_together(width))
    weights = sum(4 * math.prod(_weight_dims(node)) for node in way.nodes() if node is not way.filter)
    total = steps * weights / _CACHE_BYTES_PER_US
    if way.expand is not None:
        bands, stride = math.ceil(height / band_rows(height)), attr(way.filter, "strides")[0]
        row = op_of(way.expand).macs(way.expand) / shape(way.expand.outputs[0])[1]
        total += (bands - 1) * (taps - stride) * row / _MACS_PER_US / 2
    return total


def _fused(parts: _Parts) -> ir.Node:
    """The node that computes all parts; not in the graph yet."""
    operands = [parts.nodes()[0].inputs[0]]
    attributes: dict[str, Any] = {
        "stride": attr(parts.filter, "strides")[0],
        "pads": attr(parts.filter, "pads"),
    }
    for prefix, node in (("expand_", parts.expand), ("filter_", parts.filter), ("", parts.project)):
        names = op_of(node).inputs if node is not None else ()
        operands += [get_operand(node, names, name) if node is not None else None for name in _OPERANDS]
        if node is not None:
            attributes |= {f"{prefix}{name}": attr(node, name) for name in _ACTIVATION}
    last = parts.nodes()[-1]
    if parts.project is not None:
        attributes["residual_mode"] = attr(last, "residual_mode")
        operands.append(get_operand(last, op_of(last).inputs, "residual"))
    return ir.Node(
        DOMAIN,
        InvertedResidual.__name__,
        operands,
        [ir.convenience.convert_attribute(name, value) for name, value in attributes.items()],
        outputs=[like(last.outputs[0])],
        name=f"{last.outputs[0].name}/{InvertedResidual.__name__}",
    )


def _replace(graph: ir.Graph, parts: _Parts) -> None:
    made, last = _fused(parts), parts.nodes()[-1]
    insert_before(last, [made])
    take_over(last.outputs[0], made.outputs[0])
    erase(graph, reversed(parts.nodes()))
