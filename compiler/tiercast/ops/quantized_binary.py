"""QuantizedBinary: sums, differences and products of two s8 values, each with its own scale and zero
point."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.pointwise import in_order, preferred_perm
from tiercast.ops.quantized import HIGH, LOW, check_zero, limits
from tiercast.ops.registry import REQUIRED, Op, attr, dtype, shape, where

_KINDS = ("add", "sub", "mul")
# |a - zero| is at most 255, so sums of factors up to 2^22 stay in s32 with room for rounding.
_FACTOR_BITS = 22
_MOST_SHIFT = 30
_COARSE_BITS = 21


class QuantizedBinary(Op):
    """y = a + b, a - b or a * b (`kind`) of reals (q - zero) * scale, quantized by y_scale and y_zero.

    a, b s8, numpy-broadcast, their last axis whole or 1. Sums are in fixed point of 22 bits, halves to even;
    where rounding is up, in XNNPACK's of 21 bits (`coarse_fixed_point`), halves up.
    Results stay within low..high. Output s8, the broadcast shape.
    """

    onnx = ("QuantizedAdd", "QuantizedSub", "QuantizedMul")
    inputs = ("a", "b")
    attributes: ClassVar = {
        "kind": REQUIRED,
        "a_scale": REQUIRED,
        "a_zero": 0,
        "b_scale": REQUIRED,
        "b_zero": 0,
        "y_scale": REQUIRED,
        "y_zero": 0,
        "low": LOW,
        "high": HIGH,
        "rounding": "even",
    }
    strided_inputs = True
    strided_outputs = True

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """In the order that most of the operands have."""
        a, b = node.inputs
        assert a is not None and b is not None
        dims = layout.shape(node.outputs[0])
        perm = preferred_perm(layout, [a, b], dims)
        attributes: dict[str, Any] = {
            name: attr(node, name) for name in self.attributes if name != "kind" and name in node.attributes
        }
        operands = [in_order(layout, value, perm) for value in (a, b)]
        kind = node.op_type.removeprefix("Quantized").lower()
        made = layout.emit("QuantizedBinary", operands, {"kind": kind, **attributes})[0]
        layout.bind(node.outputs[0], made, perm)

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """The broadcast shape."""
        a, b = node.inputs
        assert a is not None and b is not None
        if {dtype(a), dtype(b)} != {ir.DataType.INT8} or len(shape(a)) != len(shape(b)) or not shape(a):
            raise GraphError(
                f"{where(node)}: operands must be s8 of one rank, they are {dtype(a)} {shape(a)}, "
                f"{dtype(b)} {shape(b)}"
            )
        if attr(node, "kind") not in _KINDS:
            raise GraphError(f"{where(node)}: kind {attr(node, 'kind')!r} is not one of {', '.join(_KINDS)}")
        try:
            return [(ir.DataType.INT8, tuple(np.broadcast_shapes(shape(a), shape(b))))]
        except ValueError as error:
            raise GraphError(f"{where(node)}: {shape(a)} and {shape(b)} do not broadcast") from error

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One call, with the scales' ratios as fixed-point factors or as one float."""
        kind = attr(node, "kind")
        a, b, y = (np.float32(attr(node, name)) for name in ("a_scale", "b_scale", "y_scale"))
        factors = (0, 0, 0) if kind == "mul" else _factors(node, a / y, (b if kind == "add" else -b) / y)
        params = {
            "kind": "mul" if kind == "mul" else "add",
            "a_zero": check_zero(node, int(attr(node, "a_zero"))),
            "b_zero": check_zero(node, int(attr(node, "b_zero"))),
            "a_factor": factors[0],
            "b_factor": factors[1],
            "shift": factors[2],
            "rounding": attr(node, "rounding"),
            "scale": float(a * b / y) if kind == "mul" else 0.0,
            **limits(node),
        }
        low.call(node, low.choose("quantized_binary_s8s8"), list(node.inputs), list(node.outputs), params)


def _factors(node: ir.Node, a: np.floating, b: np.floating) -> tuple[int, int, int]:
    if attr(node, "rounding") == "even":
        return fixed_point(node, a, b)
    found = coarse_fixed_point(a, b)
    if found is None:
        raise GraphError(f"{where(node)}: halves go up where a scale is 2^-10 to 2^8 times the result's only")
    return found


def coarse_fixed_point(a: np.floating, b: np.floating) -> tuple[int, int, int] | None:
    """Factors and shift with a ~ factor / 2^shift as XNNPACK has them: the larger factor has 21 bits.

    None where the larger ratio is not in XNNPACK's range, 2^-10 to 2^8.
    """
    most = max(abs(float(a)), abs(float(b)))
    if not 2.0**-10 <= most < 2.0**8:
        return None
    shift = _COARSE_BITS - math.frexp(most)[1]
    return round(float(a) * 2.0**shift), round(float(b) * 2.0**shift), shift


def fixed_point(node: ir.Node, a: np.floating, b: np.floating) -> tuple[int, int, int]:
    """Factors and shift with a ~ factor / 2^shift, as fine as 22 bits allow.

    GraphError for ratios beyond them: results are 255 times finer than an operand.
    """
    size = abs(float(a)) + abs(float(b))
    if not np.isfinite(size) or size >= 2.0**_FACTOR_BITS:
        raise GraphError(
            f"{where(node)}: an operand's scale is {size:.3g} times the result's; fixed point ends at 2^22"
        )
    shift = _MOST_SHIFT if size == 0 else min(_MOST_SHIFT, _FACTOR_BITS - math.frexp(size)[1])
    return round(float(a) * 2.0**shift), round(float(b) * 2.0**shift), shift
