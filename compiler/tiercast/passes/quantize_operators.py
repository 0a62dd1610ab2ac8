"""Operators between DequantizeLinear and QuantizeLinear become operators on integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import array, erase, new_constant, remove_dead, take_over
from tiercast.ir.report import PassReport
from tiercast.passes.fold_constants import compute_constants
from tiercast.passes.integer_arithmetic import build_operator
from tiercast.passes.integer_operators import PRODUCTS, Emitter, Result, without_limits
from tiercast.passes.integer_sums import INTEGER, integer_sum
from tiercast.passes.quantization import BYTES, Quantization, behind, quantization_of, real_constant
from tiercast.passes.quantized_products import product_of
from tiercast.passes.quantized_tables import lookup_table, region_before
from tiercast.passes.signed_values import SignedValues


def quantize_operators(model: ir.Model) -> PassReport:
    """dequantize -> operator [-> relu, clip] -> quantize becomes one operator on s8, in place.

    Convolutions and products with constant quantized weights sum in s32 (without a quantize behind them their
    result is f32); functions of one value are tables of 256; sums and products of two, and averages, are
    requantized. u8 values become s8 (xor 0x80). Refused, each with its reason: what stays between dequantize
    and quantize in f32. Weights of such operators are dequantized here.
    """
    report = PassReport("quantize_operators")
    run = _Run(Emitter(model.graph, report, SignedValues(model.graph)))
    for node in list(model.graph):
        if node.op_type == "QuantizeLinear" and node.domain == "":
            run.quantize(node)
    remove_dead(model.graph)
    for node in list(model.graph):
        if node.op_type in PRODUCTS and node.domain == "" and any(behind(value) for value in node.inputs):
            run.sum_to_real(node)
    for node in list(model.graph):
        if node.op_type in INTEGER and node.domain == "":
            run.sum_integers(node)
    remove_dead(model.graph)
    _compose_tables(model.graph)
    _dequantize_constants(model.graph)
    compute_constants(model)
    remove_dead(model.graph)
    return report


@dataclass
class _Run:
    """One run of the pass over a graph."""

    into: Emitter

    def quantize(self, node: ir.Node) -> None:
        """Replaces a QuantizeLinear and what it quantizes by an operator on integers, or says why not."""
        how, real = quantization_of(node), node.inputs[0]
        if real is None or real.producer() is None:
            return  # an input of the model: it is quantized
        if how is None or not how.uniform or how.kind not in BYTES or how.one_scale == 0:
            self.into.report.refuse(
                node, "its scale is computed, zero, or one for each channel, or its type is not s8 or u8"
            )
            return
        if array(node.inputs[0]) is not None:
            return
        reason = self._as_region(node, how, real)
        if reason is not None:
            reason = self._as_operator(node, how, real)
        if reason is not None:
            self.into.report.refuse(node, reason)

    def sum_to_real(self, node: ir.Node) -> None:
        """A product whose result nobody quantizes: summed in integers, its result f32."""
        found = product_of(node)
        if isinstance(found, str):
            self.into.report.refuse(node, found)
            return
        out = node.outputs[0]
        made = self.into.product(node, found, {"to": "f32"}, found.scale, ir.DataType.FLOAT)
        self.into.graph.insert_before(node, [made])
        self.into.report.apply(node, "summed in integers, its result is f32")
        take_over(out, made.outputs[0])
        erase(self.into.graph, [node])

    def sum_integers(self, node: ir.Node) -> None:
        """ConvInteger or MatMulInteger."""
        made = integer_sum(node, self.into.graph, self.into.signed)
        if isinstance(made, str):
            self.into.report.refuse(node, made)
            return
        self.into.graph.insert_before(node, made)
        self.into.report.apply(node, "summed in integers")
        take_over(node.outputs[0], made[-1].outputs[0])
        erase(self.into.graph, [node])

    def _as_region(self, node: ir.Node, how: Quantization, real: ir.Value) -> str | None:
        """None when done, else why it is no table, sum or product of two values."""
        region = region_before(real)
        if isinstance(region, str):
            return region
        if not region.sources:
            return "it depends on no quantized value"
        if len({item[0] for item in region.sources.values()}) == 1 and len(region.sources) >= 1:
            table = lookup_table(region, real, how)
            if not isinstance(table, str):
                (integers, source), *_ = region.sources.values()
                self._look_up(Result(node, how), integers, source, *table)
                return None
        return "it is no table, sum or product of two values"

    def _as_operator(self, node: ir.Node, how: Quantization, real: ir.Value) -> str | None:
        result, core = without_limits(Result(node, how), real)
        producer = core.producer()
        if producer is None or producer.domain != "":
            return "what it quantizes is computed by no operator that has a form on integers"
        return build_operator(self.into, result, producer)

    def _look_up(
        self, result: Result, integers: ir.Value, source: Quantization, table: np.ndarray, axis: int | None
    ) -> None:
        name = result.node.outputs[0].name
        entries = new_constant(self.into.graph, f"{name}.table", table)
        zeros = {"x_zero": source.signed_zero, "y_zero": result.how.signed_zero}
        attributes = {} if axis is None else {"axis": axis, **zeros}
        self.into.replace(
            result, "QuantizedLookup", [self.into.signed.of(integers, source), entries], attributes
        )


def _compose_tables(graph: ir.Graph) -> None:
    """A table that is looked up in another's result is one table."""
    for node in graph:
        source = node.inputs[0].producer() if node.op_type == "QuantizedLookup" and node.inputs[0] else None
        if source is None or source.op_type != "QuantizedLookup" or "axis" in source.attributes:
            continue
        inner, outer = array(source.inputs[1]), array(node.inputs[1])
        assert inner is not None and outer is not None
        joined = np.ascontiguousarray(outer[..., inner.view(np.uint8)])
        node.replace_input_with(0, source.inputs[0])
        node.replace_input_with(1, new_constant(graph, f"{node.outputs[0].name}.joined", joined))


def _dequantize_constants(graph: ir.Graph) -> None:
    """Weights that no integer operator has taken are f32 constants."""
    for node in list(graph):
        data = (
            real_constant(node.outputs[0])
            if node.op_type == "DequantizeLinear" and node.domain == ""
            else None
        )
        if data is not None and not node.outputs[0].is_graph_output():
            node.outputs[0].replace_all_uses_with(new_constant(graph, f"{node.outputs[0].name}.real", data))
