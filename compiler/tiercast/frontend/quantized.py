"""Operators on integers (QLinearConv, com.microsoft's QLinearAdd...) as what they mean: dequantize, the
operator on reals, quantize. Passes bring all such models to integers alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import onnx
from onnx import helper

VENDOR = "com.microsoft"  # onnxruntime's quantizer writes these
_SAME = frozenset({"QuantizeLinear", "DequantizeLinear"})  # of VENDOR: ONNX's own
# Operators of integers that stay as they are.
INTEGER = frozenset({"ConvInteger", "MatMulInteger"})


def is_quantized(domain: str, op_type: str) -> bool:
    """Whether the operator is one on integers that compiles: expanded here, or kept."""
    if domain == "" and op_type in INTEGER:
        return True
    return (domain, op_type) in _EXPANSIONS or (domain == VENDOR and op_type in _SAME)


def expand_quantized(proto: onnx.ModelProto) -> None:
    """Replaces quantized operators of ONNX and of onnxruntime by QuantizeLinear, DequantizeLinear and
    operators on reals, in place. For opset 13 and newer, whose QuantizeLinear has an axis.
    """
    made: list[onnx.NodeProto] = []
    for node in proto.graph.node:
        if node.domain == VENDOR and node.op_type in _SAME:
            node.domain = ""
        expand = _EXPANSIONS.get((node.domain, node.op_type))
        if expand is None:
            made.append(node)
        else:
            scope = _Scope(node)
            expand(scope)
            made += scope.nodes
    if any(node.domain == VENDOR for node in made):
        return _replace(proto, made)
    kept = [entry for entry in proto.opset_import if entry.domain != VENDOR]
    del proto.opset_import[:]
    proto.opset_import.extend(kept)
    _replace(proto, made)


def _replace(proto: onnx.ModelProto, nodes: Iterable[onnx.NodeProto]) -> None:
    copied = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del proto.graph.node[:]
    proto.graph.node.extend(copied)


class _Scope:
    """The expansion of one node: its inputs, and the nodes that replace it."""

    def __init__(self, node: onnx.NodeProto) -> None:
        self.node = node
        self.nodes: list[onnx.NodeProto] = []
        self.stem = node.name or node.output[0]

    def input(self, index: int) -> str:
        return self.node.input[index] if index < len(self.node.input) else ""

    def attributes(self, *names: str) -> dict[str, Any]:
        """Those attributes of the node that are called so."""
        return {name: value for name, value in self.all_attributes().items() if name in names}

    def all_attributes(self) -> dict[str, Any]:
        return {item.name: helper.get_attribute_value(item) for item in self.node.attribute}

    def emit(self, op_type: str, inputs: list[str], out: str = "", **attributes: Any) -> str:
        name = out or f"{self.stem}/{op_type}.{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(
                op_type, inputs, [name], f"{self.stem}/{op_type}.{len(self.nodes)}", **attributes
            )
        )
        return name

    def real(self, first: int, axis: int | None = None) -> str:
        """Inputs first, first + 1 and first + 2 are integers, scale and zero point: the reals."""
        return self.dequantize(self.input(first), self.input(first + 1), self.input(first + 2), axis)

    def dequantize(self, integers: str, scale: str, zero: str, axis: int | None = None) -> str:
        operands = [integers, scale, zero] if zero else [integers, scale]
        attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
        return self.emit("DequantizeLinear", operands, **attributes)

    def quantize(self, real: str, first: int) -> None:
        """The node's output, by the scale and zero point that are inputs first and first + 1."""
        zero = self.input(first + 1)
        self.emit("QuantizeLinear", [real, self.input(first), *([zero] if zero else [])], self.node.output[0])


def _convolution(scope: _Scope) -> None:
    x, weight = scope.real(0), scope.real(3, axis=0)
    operands = [x, weight]
    if scope.input(8):
        steps = scope.emit("Mul", [scope.input(1), scope.input(4)])
        operands.append(scope.dequantize(scope.input(8), steps, "", axis=0))
    scope.quantize(scope.emit("Conv", operands, **scope.all_attributes()), 6)


def _product(scope: _Scope) -> None:
    scope.quantize(scope.emit("MatMul", [scope.real(0), scope.real(3, axis=-1)]), 6)


def _gemm(scope: _Scope) -> None:
    transposed = bool(scope.all_attributes().get("transB", 0))
    operands = [scope.real(0), scope.real(3, axis=0 if transposed else 1)]
    if scope.input(6):
        steps = scope.emit("Mul", [scope.input(1), scope.input(4)])
        operands.append(scope.dequantize(scope.input(6), steps, "", axis=0))
    if scope.input(7):
        scope.quantize(scope.emit("Gemm", operands, **scope.all_attributes()), 7)
    else:
        scope.emit("Gemm", operands, scope.node.output[0], **scope.all_attributes())


def _binary(op_type: str) -> Callable[[_Scope], None]:
    return lambda scope: scope.quantize(scope.emit(op_type, [scope.real(0), scope.real(3)]), 6)


def _unary(op_type: str, *attributes: str) -> Callable[[_Scope], None]:
    return lambda scope: scope.quantize(
        scope.emit(op_type, [scope.real(0)], **scope.attributes(*attributes)), 3
    )


def _concat(scope: _Scope) -> None:
    pieces = [scope.real(first) for first in range(2, len(scope.node.input), 3)]
    scope.quantize(scope.emit("Concat", pieces, **scope.attributes("axis")), 0)


def _pool(op_type: str, *attributes: str) -> Callable[[_Scope], None]:
    def expand(scope: _Scope) -> None:
        real = scope.real(0)
        last = bool(scope.all_attributes().get("channels_last", 0))
        if last:
            real = scope.emit("Transpose", [real], perm=[0, 3, 1, 2])
        made = scope.emit(op_type, [real], **scope.attributes(*attributes))
        scope.quantize(scope.emit("Transpose", [made], perm=[0, 2, 3, 1]) if last else made, 3)

    return expand


_WINDOW = ("kernel_shape", "strides", "pads", "auto_pad", "count_include_pad", "ceil_mode")
_EXPANSIONS: dict[tuple[str, str], Callable[[_Scope], None]] = {
    ("", "QLinearConv"): _convolution,
    ("", "QLinearMatMul"): _product,
    (VENDOR, "QGemm"): _gemm,
    (VENDOR, "QLinearAdd"): _binary("Add"),
    (VENDOR, "QLinearMul"): _binary("Mul"),
    (VENDOR, "QLinearSigmoid"): _unary("Sigmoid"),
    (VENDOR, "QLinearLeakyRelu"): _unary("LeakyRelu", "alpha"),
    (VENDOR, "QLinearSoftmax"): _unary("Softmax", "axis"),
    (VENDOR, "QLinearConcat"): _concat,
    (VENDOR, "QLinearGlobalAveragePool"): _pool("GlobalAveragePool"),
    (VENDOR, "QLinearAveragePool"): _pool("AveragePool", *_WINDOW),
}
