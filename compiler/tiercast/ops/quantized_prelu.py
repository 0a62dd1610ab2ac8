"""QuantizedPrelu: two slopes for each channel; tables of channels that are such need no tables."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.lowering import Lowering
from tiercast.ops.quantized import HIGH, LOW, check_zero, limits
from tiercast.ops.registry import Op, attr, const, dtype, shape, where

_AWAY = 1e-6


class QuantizedPrelu(Op):
    """y = (x - x_zero) * slope + y_zero, halves to even, within low..high.

    x s8 [..., C]; slopes constant f32 [2, C]: that below x_zero, that above. Output: x's shape, s8. Lookup
    legalises tables of channels to it where all of their entries come out.
    """

    inputs = ("x", "slopes")
    attributes: ClassVar = {"x_zero": 0, "y_zero": 0, "low": LOW, "high": HIGH}
    strided_inputs = True
    strided_outputs = True
    in_place = True

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """x's shape, s8."""
        x, slopes = node.inputs[0], const(node.inputs[1])
        assert x is not None
        if dtype(x) != ir.DataType.INT8 or not shape(x):
            raise GraphError(f"{where(node)}: x must be s8 of rank 1 or more, it is {dtype(x)} {shape(x)}")
        if slopes is None or slopes.dtype != np.float32 or slopes.shape != (2, shape(x)[-1]):
            raise GraphError(f"{where(node)}: the slopes must be a constant f32 [2, {shape(x)[-1]}]")
        return [(ir.DataType.INT8, shape(x))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One call."""
        slopes = const(node.inputs[1])
        assert slopes is not None
        operands = [node.inputs[0], low.const(np.ascontiguousarray(slopes), "slopes", exact=True)]
        params = {"x_zero": check_zero(node, int(attr(node, "x_zero"))), **limits(node)}
        low.call(node, low.choose("quantized_prelu_s8s8"), operands, [node.outputs[0]], params)


def slopes_of(tables: np.ndarray, x_zero: int, y_zero: int) -> np.ndarray | None:
    """Slopes f32 [2, C] with which a QuantizedPrelu gives all entries of s8 `tables` [C,256]; None when
    there are none.

    Tables are indexed by x's bits. What an entry allows its side's slope to be is an interval (one with no
    end for the least and the largest entry, where the result may have been cut off); a slope lies in all.
    """
    low, high = int(tables.min()), int(tables.max())
    centred = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.float64) - x_zero
    entries = tables.astype(np.float64)
    least = np.where(entries == low, -np.inf, entries - y_zero - 0.5)
    most = np.where(entries == high, np.inf, entries - y_zero + 0.5)
    found = np.empty((2, len(tables)), np.float32)
    for side, here in enumerate((centred < 0, centred > 0)):
        ends = np.stack([least[:, here] / centred[here], most[:, here] / centred[here]])
        first, last = ends.min(0).max(1, initial=-np.inf), ends.max(0).min(1, initial=np.inf)
        # Where one end is open; a bit away from the other, at which halves go to even.
        inside = np.clip(0.0, first * (1 + np.sign(first) * _AWAY), last * (1 - np.sign(last) * _AWAY))
        both = np.isfinite(first) & np.isfinite(last)
        found[side] = np.where(both, (first + np.where(both, last, 0.0)) / 2, inside)
    wide = np.where(centred < 0, found[0][:, None], found[1][:, None]) * centred.astype(np.float32)
    made = np.rint(np.clip(wide, low - y_zero, high - y_zero)) + y_zero
    return found if np.array_equal(made, entries) else None
