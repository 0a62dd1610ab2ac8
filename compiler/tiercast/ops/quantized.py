"""What the ops on quantized values share: s8 around a zero point, weights in quads, results of three
kinds."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.registry import attr, const, dtype, shape, where

LOW, HIGH = -128, 127  # of s8
# Attributes of the ops that sum products: the zero points, and what becomes of the sums (see `result_type`).
REQUANTIZATION = {"x_zero": 0, "y_zero": 0, "low": LOW, "high": HIGH, "to": "s8"}
RESULTS = {"s8": ir.DataType.INT8, "f32": ir.DataType.FLOAT, "s32": ir.DataType.INT32}


def result_type(node: ir.Node) -> ir.DataType:
    """What `to` makes of the sums: s8 (requantized), f32 (scaled) or s32 (as they are)."""
    if attr(node, "to") not in RESULTS:
        raise GraphError(f"{where(node)}: to={attr(node, 'to')!r} is not one of {', '.join(RESULTS)}")
    return RESULTS[attr(node, "to")]


def limits(node: ir.Node) -> dict[str, int]:
    """The kernels' y_zero, low and high; GraphError when they are not s8."""
    found = {name: int(attr(node, name)) for name in ("y_zero", "low", "high")}
    check_zero(node, found["y_zero"])
    if not LOW <= found["low"] <= found["high"] <= HIGH:
        raise GraphError(
            f"{where(node)}: limits {found['low']}..{found['high']} are not within {LOW}..{HIGH}"
        )
    return found


def check_zero(node: ir.Node, zero: int) -> int:
    """The zero point itself; GraphError when no s8 value is it."""
    if not LOW <= zero <= HIGH:
        raise GraphError(f"{where(node)}: zero point {zero} is not within {LOW}..{HIGH}")
    return zero


def check_image(node: ir.Node) -> ir.Value:
    """Input 0, which must be s8 [N,H,W,C]; GraphError otherwise."""
    x = node.inputs[0]
    assert x is not None
    if len(shape(x)) != 4 or dtype(x) != ir.DataType.INT8:
        raise GraphError(f"{where(node)}: x must be s8 [N,H,W,C], it is {dtype(x)} {shape(x)}")
    return x


def integer_weight(node: ir.Node) -> np.ndarray:
    """The constant s8 weight of rank 4 of a physical convolution; GraphError otherwise."""
    weight = const(node.inputs[1])
    if weight is None or weight.ndim != 4 or weight.dtype != np.int8:
        raise GraphError(f"{where(node)}: the weight must be a constant s8 of rank 4")
    return weight


def column_vectors(node: ir.Node, weight_sums: np.ndarray, x_zero: int) -> tuple[np.ndarray, np.ndarray]:
    """bias s32 [2, C]: less what x's zero point adds, then the sums of each column's weights; scale f32 [C].

    weight_sums: s64 [C]. GraphError when inputs 2 and 3 are no such vectors.
    """
    columns = len(weight_sums)
    bias, scale = const(node.inputs[2]), const(node.inputs[3])
    if bias is None or bias.shape != (columns,) or bias.dtype != np.int32:
        raise GraphError(f"{where(node)}: the bias must be a constant s32 of {columns} values")
    if scale is None or scale.shape != (columns,) or not (np.isfinite(scale).all() and (scale >= 0).all()):
        raise GraphError(f"{where(node)}: the scale must be a constant f32 of {columns} finite values >= 0")
    shifted = bias.astype(np.int64) - x_zero * weight_sums
    if np.abs(shifted).max(initial=0) > 2**31 - 1:
        raise GraphError(f"{where(node)}: bias and zero point leave s32: {int(np.abs(shifted).max())}")
    return np.stack([shifted, weight_sums]).astype(np.int32), scale.astype(np.float32)


def quads(matrix: np.ndarray) -> np.ndarray:
    """s8 [..., K, N] -> [..., ceil(K / 4), N, 4], zeros beyond K."""
    *outer, rows, columns = matrix.shape
    count = -(-rows // 4)
    padded = np.zeros((*outer, count * 4, columns), np.int8)
    padded[..., :rows, :] = matrix
    return np.ascontiguousarray(np.swapaxes(padded.reshape(*outer, count, 4, columns), -1, -2))


def quantization_attributes(node: ir.Node) -> dict[str, Any]:
    """x_zero, y_zero, low, high and to of an ONNX-stage node, as attributes of the physical one."""
    found = {name: attr(node, name, default) for name, default in REQUANTIZATION.items()}
    return {name: value if name == "to" else int(value) for name, value in found.items()}
