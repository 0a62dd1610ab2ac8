"""Layers: what a choice of precision is made for, because the target computes it in one step; and borders
between."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from tiercast.ir.edit import static_shape
from tiercast.quantize.costs import Costs
from tiercast.quantize.units import Unit, is_mover, moved_values


@dataclass
class Layer:
    """Units that a step of the float or of the integer plan computes together: one choice.

    units: those that may run on integers. values: names of the float graph's values that their steps compute,
    also of what is f32 in any case. f32_cost, s8_cost: measured costs in either. noise: what it alone on
    integers adds to the outputs, relative to their power.
    """

    units: list[Unit]
    values: frozenset[str] = frozenset()
    f32_cost: float = 0.0
    s8_cost: float = 0.0
    noise: float = 0.0

    @property
    def name(self) -> str:
        """Of its heaviest unit."""
        return max(self.units, key=lambda unit: unit.weights).name

    @property
    def names(self) -> list[str]:
        """Of its units."""
        return [unit.name for unit in self.units]

    @property
    def weights(self) -> int:
        """Elements of its weights."""
        return sum(unit.weights for unit in self.units)


@dataclass(frozen=True)
class Border:
    """A value that units read as integers: it is quantized where an integer layer reads what f32 made, and
    dequantized where f32 reads what an integer layer made.

    maker: index of the layer that makes it, None for inputs and operators that are no unit. readers: of the
    layers that read it. floats: whether something else reads it, too. sums: its maker can hand out f32 from
    its sums.
    """

    name: str
    elements: int
    maker: int | None
    readers: tuple[int, ...]
    floats: bool
    sums: bool
    quantize_cost: float = 0.0
    dequantize_cost: float = 0.0


def join_units(units: Sequence[Unit], able: Collection[str], *plans: Costs) -> list[Layer]:
    """Layers of a graph's units, in order; those without a unit that is `able` to run on integers are left
    out.

    A unit no value of which a plan computes in a step of its own is computed there together with what is made
    of it: it is one layer with the units whose values the next steps compute.
    """
    parents = {unit.name: unit.name for unit in units}
    owner = {value: unit.name for unit in units for value in unit.values}
    beside: dict[str, set[str]] = {unit.name: set() for unit in units}

    def find(name: str) -> str:
        while parents[name] != name:
            name = parents[name]
        return name

    for plan in plans:
        steps = [{plain(name, owner) for name in names} for names, _ in plan.steps]
        computed = set[str]().union(*steps)
        for unit in units:
            for value in _next_computed(unit, computed):
                if value in owner:
                    parents[find(unit.name)] = find(owner[value])
                else:
                    beside[unit.name].add(value)
        for unit in units:  # what moves data to it goes with the first that reads it
            taken = set[str]().union(*beside.values())
            beside[unit.name] |= {name for name in _moved_to(unit) if name not in owner} - taken
        for names in steps:
            together = sorted({owner[name] for name in names if name in owner})
            for other in together[1:]:
                parents[find(other)] = find(together[0])
    groups: dict[str, list[Unit]] = {}
    for unit in units:
        groups.setdefault(find(unit.name), []).append(unit)
    layers = []
    for group in groups.values():
        values = frozenset[str]().union(*(unit.values | beside[unit.name] for unit in group))
        layers.append(Layer([unit for unit in group if unit.name in able], values))
    return [layer for layer in layers if layer.units]


def _moved_to(unit: Unit) -> set[str]:
    """What movers make of other values for a unit."""
    found: set[str] = set()
    open_values = list(unit.inputs)
    while open_values:
        value = open_values.pop()
        node = value.producer()
        if node is not None and is_mover(node):
            found.add(value.name or "")
            open_values += moved_values(node)
    return found


def _next_computed(unit: Unit, computed: Collection[str]) -> set[str]:
    """The first values behind a unit that steps compute; nothing where one computes a value of the unit's
    own."""
    found: set[str] = set()
    if unit.values & set(computed):
        return found
    seen, open_values = {unit.output}, [unit.output]
    while open_values:
        for use in open_values.pop().uses():
            for out in use.node.outputs:
                if out in seen:
                    continue
                seen.add(out)
                if out.name in computed:
                    found.add(out.name or "")
                else:
                    open_values.append(out)
    return found


def take_costs(layers: Sequence[Layer], f32: Costs, s8: Costs) -> None:
    """Writes the costs of each plan's steps into the layers that they belong to."""
    known = frozenset[str]().union(*(layer.values for layer in layers))
    for layer in layers:
        layer.f32_cost, layer.s8_cost = (
            sum(cost for names, cost in plan.steps if layer.values & {plain(name, known) for name in names})
            for plan in (f32, s8)
        )


def find_borders(layers: Sequence[Layer]) -> list[Border]:
    """The values at which precision may change."""
    units = [unit for layer in layers for unit in layer.units]
    owner = {unit.name: at for at, layer in enumerate(layers) for unit in layer.units}
    makers = {unit.output: unit for unit in units}
    leaves = {leaf for unit in units for value in unit.inputs for leaf in _leaves(value)} | set(makers)
    found = []
    for value in leaves:
        maker = makers.get(value)
        reached = _moved_on(value)
        readers = {owner[unit.name] for unit in units if any(item in reached for item in unit.inputs)}
        found.append(
            Border(
                value.name or "",
                math.prod(static_shape(value) or (1,)),
                None if maker is None else owner[maker.name],
                tuple(sorted(readers)),
                _read_by_floats(reached, units),
                maker is not None and maker.hands_out_sums,
            )
        )
    return sorted(found, key=lambda border: border.name)


def _leaves(value: ir.Value) -> list[ir.Value]:
    node = value.producer()
    if node is None or not is_mover(node):
        return [value]
    return [leaf for piece in moved_values(node) for leaf in _leaves(piece) if leaf.const_value is None]


def _moved_on(value: ir.Value) -> set[ir.Value]:
    """The value and what movers make of it."""
    found, open_values = {value}, [value]
    while open_values:
        for use in open_values.pop().uses():
            if is_mover(use.node):
                new = [out for out in use.node.outputs if out not in found]
                found.update(new)
                open_values += new
    return found


def _read_by_floats(values: set[ir.Value], units: Sequence[Unit]) -> bool:
    inside = {node for unit in units for node in unit.nodes}
    return any(
        value.is_graph_output()
        or any(use.node not in inside and not is_mover(use.node) for use in value.uses())
        for value in values
    )


def plain(name: str, known: Collection[str]) -> str:
    """The value of the float graph (one of `known`) that a plan's value stands for: "relu.q.piece0" is
    "relu"."""
    for found in re.finditer(r"\.(?:q|dq|real)(?=\.|$)", name):
        if name not in known and name[: found.start()] in known:
            return name[: found.start()]
    return name
