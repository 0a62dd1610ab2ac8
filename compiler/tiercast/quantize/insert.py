"""Puts QuantizeLinear and DequantizeLinear into a float graph, so that chosen units run on integers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import array, new_constant, remove_dead
from tiercast.passes.quantization import Quantization
from tiercast.passes.quantized_products import output_axis
from tiercast.quantize import scheme
from tiercast.quantize.units import Unit, find_units, is_mover, moved_values

# Pieces of a concatenation share a scale unless that would cost one of them more than a bit; that one then
# keeps its own, and a table brings it to the common one.
_SHARED_FROM = 0.5

Range = tuple[float, float]


def insert_quantization(
    model: ir.Model, chosen: Collection[str], ranges: Mapping[str, Range]
) -> dict[str, Quantization]:
    """Makes the units of these names run on integers, in place; the quantization of each value, by name.

    model: at the stage "simplified". ranges: what each value's reals lie in, by its name, for all that units
    read or write. Values are quantized where a chosen unit reads them and behind those of its results that
    such a unit reads; a product whose result only f32 reads, without relu or clip behind it, hands out f32
    from its sums. What only moves data moves integers; concatenated pieces share a scale.
    """
    units = [unit for unit in find_units(model.graph) if unit.name in chosen]
    points = _Points(model.graph, ranges)
    for unit in units:
        for value in unit.inputs:
            points.cut(value)
        if not unit.hands_out_sums:
            points.cut(unit.output)
    points.join_pieces()
    for unit in units:
        if unit.kind == "product":
            _quantize_weights(model.graph, unit, points.of(unit.inputs[0]))
    readers = {node for unit in units for node in unit.nodes} | points.movers
    made = {unit.output for unit in units}
    found = {value: points.of(value) for value in points.values}
    named = {value.name or "": how for value, how in found.items()}
    for value, how in found.items():
        _place(model.graph, value, how, None if value in made else readers)
    remove_dead(model.graph)
    return named


@dataclass
class _Points:
    """The values of a graph that are quantized, and how; `movers` are what integers go through."""

    graph: ir.Graph
    ranges: Mapping[str, Range]
    values: list[ir.Value] = field(default_factory=list)
    movers: set[ir.Node] = field(default_factory=set)
    _groups: list[set[ir.Value]] = field(default_factory=list)

    def cut(self, value: ir.Value) -> None:
        """Has a value quantized: itself, or what movers make it of."""
        node = value.producer()
        if is_mover(node) and node is not None:
            self.movers.add(node)
            for piece in moved_values(node):
                self.cut(piece)
        elif value not in self.values:
            self.values.append(value)

    def leaves(self, value: ir.Value) -> list[ir.Value]:
        """The quantized values that movers make this one of."""
        node = value.producer()
        if value in self.values or node not in self.movers or node is None:
            return [value]
        return list(dict.fromkeys(leaf for piece in moved_values(node) for leaf in self.leaves(piece)))

    def join_pieces(self) -> None:
        """Gives what is concatenated one range, or the whole a quantization of its own behind it."""
        for node in [node for node in self.graph if node in self.movers and len(moved_values(node)) > 1]:
            leaves = self.leaves(node.outputs[0])
            whole = self._joint(leaves)
            if any(
                len(leaf.uses()) > 1 and _span(self._own(leaf)) < _SHARED_FROM * _span(whole)
                for leaf in leaves
            ):
                self.values.append(node.outputs[0])
                continue
            touched = [group for group in self._groups if group & set(leaves)]
            self._groups = [group for group in self._groups if group not in touched]
            self._groups.append(set(leaves).union(*touched))

    def of(self, value: ir.Value) -> Quantization:
        """How a value's integers are made, or those that movers make it of."""
        leaf = self.leaves(value)[0]
        group = next((group for group in self._groups if leaf in group), {leaf})
        return scheme.activation(*self._joint(group))

    def _own(self, value: ir.Value) -> Range:
        """The range of a value's reals and 0."""
        data = array(value)
        if data is not None:
            low, high = float(data.min(initial=0)), float(data.max(initial=0))
        elif value.name in self.ranges:
            low, high = self.ranges[value.name or ""]
        else:  # what movers make: of the elements of others
            low, high = self._joint([leaf for piece in self._pieces(value) for leaf in self.leaves(piece)])
        return min(low, 0.0), max(high, 0.0)

    def _pieces(self, value: ir.Value) -> list[ir.Value]:
        node = value.producer()
        assert node is not None
        return moved_values(node)

    def _joint(self, values: Collection[ir.Value]) -> Range:
        found = [self._own(value) for value in values]
        return min(low for low, _ in found), max(high for _, high in found)


def _span(found: Range) -> float:
    return found[1] - found[0]


def _place(graph: ir.Graph, value: ir.Value, how: Quantization, readers: set[ir.Node] | None) -> None:
    """A quantize and a dequantize behind a value, for `readers` only (None: for all, outputs of the graph
    too)."""
    name = value.name or "value"
    scale = new_constant(graph, f"{name}.scale", np.asarray(how.one_scale, np.float32))
    zero = new_constant(graph, f"{name}.zero", np.asarray(how.signed_zero, np.int8))
    integers = ir.Value(name=f"{name}.q", shape=value.shape, type=ir.TensorType(ir.DataType.INT8))
    real = ir.Value(name=f"{name}.dq", shape=value.shape, type=ir.TensorType(ir.DataType.FLOAT))
    uses = [use for use in value.uses() if readers is None or use.node in readers]
    pair = [
        ir.Node("", "QuantizeLinear", [value, scale, zero], outputs=[integers], name=f"{name}.q"),
        ir.Node("", "DequantizeLinear", [integers, scale, zero], outputs=[real], name=f"{name}.dq"),
    ]
    producer = value.producer()
    if producer is not None:
        graph.insert_after(producer, pair)
    else:
        graph.insert_before(graph[0], pair)
    for node, at in uses:
        node.replace_input_with(at, real)
    if readers is None and value.is_graph_output():
        for at, port in enumerate(graph.outputs):
            if port is value:
                graph.outputs[at] = real
        value.name, real.name = f"{name}.real", name


def _quantize_weights(graph: ir.Graph, unit: Unit, x: Quantization) -> None:
    """s8 weights, and the bias in s32, behind DequantizeLinear."""
    node, name = unit.core, unit.core.outputs[0].name
    weight = array(node.inputs[1])
    assert weight is not None
    axis = output_axis(node, weight.ndim)
    scales = scheme.weight_scales(weight, axis)
    bias = array(node.inputs[2]) if len(node.inputs) > 2 else None
    flat = None if bias is None else np.broadcast_to(bias.reshape(-1), (_columns(node, weight, axis),))
    if flat is not None and len(flat) == len(scales):
        scales = scheme.scales_for_bias(scales, flat, x.one_scale)
    integers = scheme.weight_integers(weight, scales, axis)
    _dequantize(graph, node, 1, f"{name}.weight", integers, scales, axis)
    if flat is not None and len(flat) == len(scales):
        whole = scheme.bias_integers(flat, x.one_scale, scales)
        _dequantize(graph, node, 2, f"{name}.bias", whole, (scales * x.one_scale).astype(np.float32), 0)


def _columns(node: ir.Node, weight: np.ndarray, axis: int) -> int:
    groups = node.attributes["group"].as_int() if "group" in node.attributes else 1
    return int(weight.shape[axis]) * (groups if node.op_type == "ConvTranspose" else 1)


def _dequantize(
    graph: ir.Graph, node: ir.Node, at: int, name: str, integers: np.ndarray, scales: np.ndarray, axis: int
) -> None:
    """Input `at` of the node becomes the reals of these constant integers, one scale for each of `axis`."""
    operands = [
        new_constant(graph, f"{name}.{part}", data) for part, data in (("q", integers), ("scale", scales))
    ]
    real = ir.Value(name=f"{name}.dq", shape=ir.Shape(integers.shape), type=ir.TensorType(ir.DataType.FLOAT))
    made = ir.Node(
        "", "DequantizeLinear", operands, [ir.AttrInt64("axis", axis)], outputs=[real], name=f"{name}.dq"
    )
    graph.insert_before(node, [made])
    node.replace_input_with(at, real)
