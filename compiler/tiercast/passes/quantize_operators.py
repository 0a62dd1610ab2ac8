"""Operators between DequantizeLinear and QuantizeLinear become operators on integers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from tiercast.ir.domain import QUANTIZED
from tiercast.ir.edit import array, erase, new_constant, only_user, remove_dead, static_shape, take_over
from tiercast.ir.report import PassReport
from tiercast.passes.fold_constants import compute_constants
from tiercast.passes.integer_sums import INTEGER, integer_sum, matrix_refusal
from tiercast.passes.quantization import (
    BYTES,
    HIGH,
    LOW,
    Quantization,
    array_behind,
    behind,
    quantization_of,
    real_constant,
)
from tiercast.passes.quantized_products import product_of
from tiercast.passes.quantized_tables import lookup_table, region_before
from tiercast.passes.signed_values import SignedValues, flip_table

_PRODUCTS = {
    "Conv": "QuantizedConv",
    "ConvTranspose": "QuantizedConvTranspose",
    "MatMul": "QuantizedGemm",
    "Gemm": "QuantizedGemm",
}
_BINARY = ("Add", "Sub", "Mul")
_CONV_ATTRIBUTES = ("strides", "pads", "dilations", "group", "auto_pad", "output_padding", "output_shape")
_POOL_ATTRIBUTES = (
    "kernel_shape",
    "strides",
    "pads",
    "dilations",
    "auto_pad",
    "count_include_pad",
    "ceil_mode",
)


def quantize_operators(model: ir.Model) -> PassReport:
    """dequantize -> operator [-> relu, clip] -> quantize becomes one operator on s8, in place.

    Convolutions and products with constant quantized weights sum in s32 (without a quantize behind them their
    result is f32); functions of one value are tables of 256; sums and products of two, and averages, are
    requantized. u8 values become s8 (xor 0x80). Refused, each with its reason: what stays between dequantize
    and quantize in f32. Weights of such operators are dequantized here.
    """
    report = PassReport("quantize_operators")
    run = _Run(model.graph, report, SignedValues(model.graph))
    for node in list(model.graph):
        if node.op_type == "QuantizeLinear" and node.domain == "":
            run.quantize(node)
    remove_dead(model.graph)
    for node in list(model.graph):
        if node.op_type in _PRODUCTS and node.domain == "" and any(behind(value) for value in node.inputs):
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
class _Result:
    """Where an integer operator's result goes: y = quantized by `how`, kept within low..high (s8)."""

    node: ir.Node  # the QuantizeLinear
    how: Quantization
    low: int = LOW
    high: int = HIGH

    @property
    def attributes(self) -> dict[str, Any]:
        return {"y_zero": self.how.signed_zero, "low": self.low, "high": self.high}


@dataclass
class _Run:
    """One run of the pass over a graph."""

    graph: ir.Graph
    report: PassReport
    signed: SignedValues
    _count: int = field(default=0)

    def quantize(self, node: ir.Node) -> None:
        """Replaces a QuantizeLinear and what it quantizes by an operator on integers, or says why not."""
        how, real = quantization_of(node), node.inputs[0]
        if real is None or real.producer() is None:
            return  # an input of the model: it is quantized
        if how is None or not how.uniform or how.kind not in BYTES or how.one_scale == 0:
            self.report.refuse(
                node, "its scale is computed, zero, or one for each channel, or its type is not s8 or u8"
            )
            return
        if array(node.inputs[0]) is not None:
            return
        reason = self._as_region(node, how, real)
        if reason is not None:
            reason = self._as_operator(node, how, real)
        if reason is not None:
            self.report.refuse(node, reason)

    def sum_to_real(self, node: ir.Node) -> None:
        """A product whose result nobody quantizes: summed in integers, its result f32."""
        found = product_of(node)
        if isinstance(found, str):
            self.report.refuse(node, found)
            return
        out = node.outputs[0]
        made = self._product(node, found, {"to": "f32"}, found.scale, ir.DataType.FLOAT)
        self.graph.insert_before(node, [made])
        self.report.apply(node, "summed in integers, its result is f32")
        take_over(out, made.outputs[0])
        erase(self.graph, [node])

    def sum_integers(self, node: ir.Node) -> None:
        """ConvInteger or MatMulInteger."""
        made = integer_sum(node, self.graph, self.signed)
        if isinstance(made, str):
            self.report.refuse(node, made)
            return
        self.graph.insert_before(node, made)
        self.report.apply(node, "summed in integers")
        take_over(node.outputs[0], made[-1].outputs[0])
        erase(self.graph, [node])

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
                self._look_up(_Result(node, how), integers, source, *table)
                return None
        return "it is no table, sum or product of two values"

    def _as_operator(self, node: ir.Node, how: Quantization, real: ir.Value) -> str | None:
        result, core = self._without_limits(_Result(node, how), real)
        producer = core.producer()
        if producer is None or producer.domain != "":
            return "what it quantizes is computed by no operator that has a form on integers"
        build = _BUILDERS.get(producer.op_type)
        if build is None:
            return f"{producer.op_type} is computed in f32: it has no form on integers"
        return build(self, result, producer)

    def _without_limits(self, result: _Result, value: ir.Value) -> tuple[_Result, ir.Value]:
        """Looks through relu and clip: a result's least and largest integer."""
        while True:
            node = value.producer()
            bounds = _bounds(node) if node is not None and node.domain == "" else None
            if node is None or bounds is None or node.inputs[0] is None:
                return result, value
            low, high = (int(result.how.quantize(bound)) for bound in bounds)
            low, high = max(result.low, low), min(result.high, high)
            result = _Result(result.node, result.how, min(low, high), high)
            value = node.inputs[0]

    def _look_up(
        self, result: _Result, integers: ir.Value, source: Quantization, table: np.ndarray, axis: int | None
    ) -> None:
        name = result.node.outputs[0].name
        entries = new_constant(self.graph, f"{name}.table", table)
        attributes = {} if axis is None else {"axis": axis}
        self._replace(result, "QuantizedLookup", [self.signed.of(integers, source), entries], attributes)

    def _product(
        self, node: ir.Node, found: Any, attributes: dict[str, Any], scale: np.ndarray, kind: ir.DataType
    ) -> ir.Node:
        name = node.outputs[0].name
        constants = [
            new_constant(self.graph, f"{name}.{part}", data)
            for part, data in (
                ("weight", found.weight),
                ("bias", found.bias),
                ("scale", scale.astype(np.float32)),
            )
        ]
        kept = {
            key: node.attributes[key].value
            for key in _CONV_ATTRIBUTES
            if key in node.attributes and "Conv" in node.op_type
        }
        out = ir.Value(name=f"{name}.sums", shape=node.outputs[0].shape, type=ir.TensorType(kind))
        return _node(
            _PRODUCTS[node.op_type],
            [self.signed.of(found.x, found.x_how), *constants],
            {**kept, "x_zero": found.x_how.signed_zero, **attributes},
            out,
        )

    def product(self, result: _Result, node: ir.Node, bias: ir.Value | None = None) -> str | None:
        """A Conv, ConvTranspose, MatMul or Gemm."""
        if node.op_type == "MatMul" and bias is None and array_behind(node.inputs[1]) is None:
            return self._computed_product(result, node)
        found = product_of(node, bias)
        if isinstance(found, str):
            return f"{node.op_type}: {found}"
        scale = (found.scale / result.how.one_scale).astype(np.float32)
        made = self._product(node, found, {"to": "s8", **result.attributes}, scale, ir.DataType.INT8)
        self._finish(result, made, "summed in integers")
        return None

    def _computed_product(self, result: _Result, node: ir.Node) -> str | None:
        a, b = behind(node.inputs[0]), behind(node.inputs[1])
        if a is None or b is None or not all(item[1].uniform and item[1].kind in BYTES for item in (a, b)):
            return "MatMul: its operands are not s8 or u8 with one scale each"
        reason = matrix_refusal(static_shape(a[0]), static_shape(b[0]))
        if reason is not None:
            return f"MatMul: {reason}"
        attributes = {
            "a_zero": a[1].signed_zero,
            "b_zero": b[1].signed_zero,
            "scale": float(a[1].one_scale * b[1].one_scale / result.how.one_scale),
            **result.attributes,
        }
        operands = [self.signed.of(*item) for item in (a, b)]
        self._replace(result, "QuantizedMatMul", operands, attributes)
        return None

    def binary(self, result: _Result, node: ir.Node) -> str | None:
        """An Add, Sub or Mul of two quantized values, or a product with a bias behind it."""
        a, b = behind(node.inputs[0]), behind(node.inputs[1])
        if a is None or b is None:
            return self._biased(result, node)
        if not all(item[1].uniform and item[1].kind in BYTES for item in (a, b)):
            return f"{node.op_type}: its operands are not s8 or u8 with one scale each"
        rank = len(static_shape(node.outputs[0]) or ())
        if rank == 0 or result.how.one_scale * 2.0**20 < a[1].one_scale + b[1].one_scale:
            return f"{node.op_type}: it is a scalar, or its result is far finer than its operands"
        attributes = {
            "a_scale": float(a[1].one_scale),
            "a_zero": a[1].signed_zero,
            "b_scale": float(b[1].one_scale),
            "b_zero": b[1].signed_zero,
            "y_scale": float(result.how.one_scale),
            **result.attributes,
        }
        operands = [self.signed.of(*item) for item in (a, b)]
        self._replace(result, f"Quantized{node.op_type}", operands, attributes)
        return None

    def _biased(self, result: _Result, node: ir.Node) -> str | None:
        for at in (0, 1):
            inner, other = node.inputs[at], node.inputs[1 - at]
            source = inner.producer() if inner is not None else None
            alone = inner is not None and only_user(inner) is node
            if (
                node.op_type == "Add"
                and source is not None
                and source.op_type == "MatMul"
                and alone
                and real_constant(other) is not None
            ):
                return self.product(result, source, other)
        return f"{node.op_type}: its operands are not both quantized"

    def average(self, result: _Result, node: ir.Node) -> str | None:
        """AveragePool, GlobalAveragePool or ReduceMean over both axes of an image."""
        source = behind(node.inputs[0])
        dims = static_shape(node.inputs[0])
        if source is None or not source[1].uniform or source[1].kind not in BYTES or dims is None:
            return f"{node.op_type}: its input is not s8 or u8 with one scale"
        if len(dims) != 4:
            return f"{node.op_type}: its input has rank {len(dims)}; images (rank 4) are averaged in integers"
        attributes: dict[str, Any] = {
            "scale": float(source[1].one_scale / result.how.one_scale),
            "x_zero": source[1].signed_zero,
        }
        if node.op_type == "AveragePool":
            attributes |= {
                key: node.attributes[key].value for key in _POOL_ATTRIBUTES if key in node.attributes
            }
        elif node.op_type == "ReduceMean":
            axes = array(node.inputs[1]) if len(node.inputs) > 1 else None
            if axes is None or sorted(int(axis) % 4 for axis in axes.reshape(-1)) != [2, 3]:
                return "ReduceMean: it is over other axes than height and width"
        x = self.signed.of(*source)
        pooled = (*dims[:2], 1, 1)
        out = result.node.outputs[0]
        if static_shape(out) == pooled or node.op_type == "AveragePool":
            self._replace(result, "QuantizedAveragePool", [x], {**attributes, **result.attributes})
            return None
        inner = ir.Value(
            name=f"{out.name}.pooled", shape=ir.Shape(pooled), type=ir.TensorType(ir.DataType.INT8)
        )
        pool = _node("QuantizedAveragePool", [x], {**attributes, **result.attributes}, inner)
        self.graph.insert_before(result.node, [pool])
        target = new_constant(self.graph, f"{out.name}.dims", np.asarray(static_shape(out), np.int64))
        made = ir.Value(name=f"{out.name}.s8", shape=out.shape, type=ir.TensorType(ir.DataType.INT8))
        self._finish(
            result,
            ir.Node("", "Reshape", [inner, target], outputs=[made], name=made.name),
            "averaged in integers",
        )
        return None

    def _replace(
        self, result: _Result, op_type: str, inputs: list[ir.Value], attributes: dict[str, Any]
    ) -> None:
        old = result.node.outputs[0]
        out = ir.Value(name=f"{old.name}.s8", shape=old.shape, type=ir.TensorType(ir.DataType.INT8))
        self._finish(result, _node(op_type, inputs, attributes, out), op_type)

    def _finish(self, result: _Result, made: ir.Node, what: str) -> None:
        """`made` gives the result, as s8; what reads it as u8 gets it by a table."""
        old, out = result.node.outputs[0], made.outputs[0]
        out.name = f"{old.name}.s8"
        out.shape = old.shape
        self.graph.insert_before(result.node, [made])
        if result.how.kind == ir.DataType.INT8:
            take_over(old, out)
        else:
            unsigned = ir.Value(name=f"{old.name}.u8", shape=old.shape, type=ir.TensorType(ir.DataType.UINT8))
            table = new_constant(self.graph, f"{old.name}.flip", flip_table(np.uint8))
            self.graph.insert_before(result.node, [_node("QuantizedLookup", [out, table], {}, unsigned)])
            take_over(old, unsigned)
            self.signed.put(unsigned, out)
        self.report.apply(result.node, what)
        erase(self.graph, [result.node])


_BUILDERS: dict[str, Callable[[_Run, _Result, ir.Node], str | None]] = {
    **dict.fromkeys(_PRODUCTS, _Run.product),
    **dict.fromkeys(_BINARY, _Run.binary),
    **dict.fromkeys(("AveragePool", "GlobalAveragePool", "ReduceMean"), _Run.average),
}


def _node(op_type: str, inputs: list[ir.Value], attributes: dict[str, Any], out: ir.Value) -> ir.Node:
    known = [
        ir.convenience.convert_attribute(key, value) for key, value in attributes.items() if value is not None
    ]
    return ir.Node(QUANTIZED, op_type, inputs, known, outputs=[out], name=out.name)


def _bounds(node: ir.Node) -> tuple[float, float] | None:
    """What a Relu or Clip keeps its input within, None for other nodes."""
    if node.op_type == "Relu":
        return 0.0, float("inf")
    if node.op_type != "Clip":
        return None
    found = [float("-inf"), float("inf")]
    for at in (1, 2):
        value = node.inputs[at] if len(node.inputs) > at else None
        if value is not None:
            data = real_constant(value)
            if data is None or data.size != 1:
                return None
            found[at - 1] = float(data.reshape(-1)[0])
    return found[0], found[1]


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
