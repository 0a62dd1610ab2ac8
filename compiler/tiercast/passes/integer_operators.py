"""Putting operators on integers into a graph: where their results go, and in which form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from tiercast.ir.domain import QUANTIZED
from tiercast.ir.edit import erase, new_constant, take_over
from tiercast.ir.report import PassReport
from tiercast.passes.quantization import HIGH, LOW, Quantization, real_constant
from tiercast.passes.quantized_products import Product
from tiercast.passes.signed_values import SignedValues, flip_table

# ONNX operators with a constant weight, and what they become.
PRODUCTS = {
    "Conv": "QuantizedConv",
    "ConvTranspose": "QuantizedConvTranspose",
    "MatMul": "QuantizedGemm",
    "Gemm": "QuantizedGemm",
}
_CONV_ATTRIBUTES = ("strides", "pads", "dilations", "group", "auto_pad", "output_padding", "output_shape")


@dataclass(frozen=True)
class Result:
    """Where an integer operator's result goes: what `node`, a QuantizeLinear, makes by `how`, within s8
    low..high.
    """

    node: ir.Node
    how: Quantization
    low: int = LOW
    high: int = HIGH

    @property
    def attributes(self) -> dict[str, Any]:
        """As attributes of the operator."""
        return {"y_zero": self.how.signed_zero, "low": self.low, "high": self.high}


@dataclass
class Emitter:
    """A graph that operators on integers are put into, and the report of who does."""

    graph: ir.Graph
    report: PassReport
    signed: SignedValues

    def replace(
        self, result: Result, op_type: str, inputs: Sequence[ir.Value | None], attributes: dict[str, Any]
    ) -> None:
        """One operator of `tiercast.quantized` gives the result."""
        old = result.node.outputs[0]
        out = ir.Value(name=f"{old.name}.s8", shape=old.shape, type=ir.TensorType(ir.DataType.INT8))
        self.finish(result, operator_node(op_type, inputs, attributes, out), op_type)

    def finish(self, result: Result, made: ir.Node, what: str) -> None:
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
            self.graph.insert_before(
                result.node, [operator_node("QuantizedLookup", [out, table], {}, unsigned)]
            )
            take_over(old, unsigned)
            self.signed.put(unsigned, out)
        self.report.apply(result.node, what)
        erase(self.graph, [result.node])

    def product(
        self,
        node: ir.Node,
        found: Product,
        attributes: dict[str, Any],
        scale: np.ndarray,
        kind: ir.DataType,
    ) -> ir.Node:
        """The operator for a Conv, ConvTranspose, MatMul or Gemm, not yet in the graph."""
        name = node.outputs[0].name
        parts = (("weight", found.weight), ("bias", found.bias), ("scale", scale.astype(np.float32)))
        constants = [new_constant(self.graph, f"{name}.{part}", data) for part, data in parts]
        kept = {
            key: node.attributes[key].value
            for key in _CONV_ATTRIBUTES
            if key in node.attributes and "Conv" in node.op_type
        }
        out = ir.Value(name=f"{name}.sums", shape=node.outputs[0].shape, type=ir.TensorType(kind))
        operands = [self.signed.of(found.x, found.x_how), *constants]
        return operator_node(
            PRODUCTS[node.op_type], operands, {**kept, "x_zero": found.x_how.signed_zero, **attributes}, out
        )


def operator_node(
    op_type: str, inputs: Sequence[ir.Value | None], attributes: dict[str, Any], out: ir.Value
) -> ir.Node:
    """A node of `tiercast.quantized`."""
    known = [
        ir.convenience.convert_attribute(key, value) for key, value in attributes.items() if value is not None
    ]
    return ir.Node(QUANTIZED, op_type, inputs, known, outputs=[out], name=out.name)


def without_limits(result: Result, value: ir.Value) -> tuple[Result, ir.Value]:
    """Looks through relu and clip before a QuantizeLinear: they bound the result's integers."""
    while True:
        node = value.producer()
        bounds = limits_of(node) if node is not None and node.domain == "" else None
        if node is None or bounds is None or node.inputs[0] is None:
            return result, value
        low, high = (int(result.how.quantize(bound)) for bound in bounds)
        low, high = max(result.low, low), min(result.high, high)
        result = replace(result, low=min(low, high), high=high)
        value = node.inputs[0]


def limits_of(node: ir.Node) -> tuple[float, float] | None:
    """What a Relu or Clip with constant bounds keeps its input within, None for other nodes."""
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
