"""Float islands: operators that stay f32 between a dequantize and a quantize, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from tiercast.ir.domain import QUANTIZED
from tiercast.ir.edit import array, static_shape
from tiercast.ir.report import name_of
from tiercast.pipeline import compile_plan


@dataclass(frozen=True)
class Island:
    """Operators in f32 that values enter from integers and leave to integers.

    nodes: their names; operators: their kinds. entered and left: elements that are dequantized before and
    quantized behind them. values: names of what they and these conversions compute. cost: the time of all
    that, if it was measured.
    """

    nodes: tuple[str, ...]
    operators: tuple[str, ...]
    entered: int
    left: int
    values: frozenset[str]
    cost: float | None = None

    @property
    def text(self) -> str:
        """In one line."""
        kinds = ", ".join(f"{kind} x{self.operators.count(kind)}" for kind in dict.fromkeys(self.operators))
        return f"{kinds} ({self.nodes[0]}): {self.entered} elements dequantized, {self.left} quantized"


def find_islands(model: ir.Model) -> list[Island]:
    """The islands of a quantized model (QDQ form), as our passes leave them."""
    graph = compile_plan(model, "host", until="quantize_operators").model.graph
    floats = [node for node in graph if _is_float(node)]
    return [found for group in _connected(floats) if (found := _island(group)) is not None]


def with_costs(islands: Sequence[Island], times: Mapping[str, float]) -> list[Island]:
    """The islands with the sum of the times of the steps that compute their values (by a value's name)."""
    return [replace(item, cost=sum(times.get(name, 0.0) for name in item.values)) for item in islands]


def _is_float(node: ir.Node) -> bool:
    if node.domain == QUANTIZED or node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return False
    return any(value.dtype == ir.DataType.FLOAT for value in node.outputs)


def _connected(nodes: Sequence[ir.Node]) -> list[list[ir.Node]]:
    """Groups of nodes that hand each other values."""
    group = {node: at for at, node in enumerate(nodes)}

    def find(at: int) -> int:
        while parents[at] != at:
            at = parents[at]
        return at

    parents = list(range(len(nodes)))
    for node in nodes:
        for value in node.inputs:
            source = value.producer() if value is not None else None
            if source in group and source is not None:
                parents[find(group[node])] = find(group[source])
    found: dict[int, list[ir.Node]] = {}
    for node in nodes:
        found.setdefault(find(group[node]), []).append(node)
    return list(found.values())


def _island(nodes: Sequence[ir.Node]) -> Island | None:
    entering = {
        value
        for node in nodes
        for value in node.inputs
        if value is not None and array(value) is None and _from_integers(value.producer())
    }
    leaving = {
        use.node.outputs[0]
        for node in nodes
        for value in node.outputs
        for use in value.uses()
        if use.node.op_type == "QuantizeLinear"
    }
    if not entering or not leaving:
        return None
    converted = {value for value in entering if value.producer() is not None and _dequantizes(value)}
    made = {value for node in nodes for value in node.outputs} | converted | leaving
    return Island(
        tuple(name_of(node) for node in nodes),
        tuple(node.op_type for node in nodes),
        sum(_elements(value) for value in converted),
        sum(_elements(value) for value in leaving),
        frozenset(value.name or "" for value in made),
    )


def _from_integers(node: ir.Node | None) -> bool:
    return node is not None and (node.op_type == "DequantizeLinear" or node.domain == QUANTIZED)


def _dequantizes(value: ir.Value) -> bool:
    node = value.producer()
    return node is not None and node.op_type == "DequantizeLinear"


def _elements(value: ir.Value) -> int:
    return math.prod(static_shape(value) or (0,))
