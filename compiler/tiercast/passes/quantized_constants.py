"""Tables of a quantized value and a quantized constant: the integers that QuantizedBinary makes of them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ir.edit import array
from tiercast.ir.fixed_point import scaled
from tiercast.ir.rounding import COARSE, FIXED_POINT, rounding_of
from tiercast.ops.quantized_binary import coarse_fixed_point, fixed_point
from tiercast.passes.quantization import HIGH, LOW, Quantization, behind

_KINDS = {"Add": 1, "Sub": -1, "Mul": 0}


def with_constant(node: ir.Node, real: ir.Value, how: Quantization) -> np.ndarray | None:
    """s8 results [256, ...] of `real`, by the bits of its s8 form, plus, minus or times a quantized constant;
    or of a PRelu that is marked to be in fixed point, whose slope it is.

    The trailing axes are the constant's, broadcast from the right. how: the result's quantization. None for
    other nodes, constants that are not quantized alike everywhere, and scales beyond fixed point.
    """
    parametric = node.op_type == "PRelu" and rounding_of(node) == FIXED_POINT and node.inputs[0] is real
    if not (node.op_type in _KINDS or parametric) or len(node.inputs) != 2 or real not in node.inputs:
        return None
    sides = [behind(value) for value in node.inputs]
    first, second = sides
    if first is None or second is None or not (first[1].uniform and second[1].uniform):
        return None
    at = node.inputs.index(real)
    constant = array(sides[1 - at][0])  # type: ignore[index]
    if constant is None or constant.itemsize != 1:
        return None
    x = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.int64)
    along = x.reshape([256, *[1] * constant.ndim])
    flipped = constant.astype(np.int64) - (128 if constant.dtype == np.uint8 else 0)
    pair = (along, flipped) if at == 0 else (flipped, along)
    a, b = (whole - side[1].signed_zero for whole, side in zip(pair, (first, second), strict=True))
    scales = (first[1].one_scale, second[1].one_scale, how.one_scale)
    if node.op_type == "Mul":
        wide: np.ndarray | None = np.rint(
            (a * b).astype(np.float32) * np.float32(scales[0] * scales[1] / scales[2])
        )
    else:
        wide = _parametric(a, b, scales) if parametric else _sum(node, a, b, scales)
    if wide is None:
        return None
    whole: np.ndarray = np.clip(wide + how.signed_zero, LOW, HIGH).astype(np.int8)
    return whole


def _parametric(
    x: np.ndarray, slope: np.ndarray, scales: tuple[np.float32, np.float32, np.float32]
) -> np.ndarray | None:
    """As TensorFlow Lite's reference_ops::BroadcastPrelu4DSlow; None beyond its 32 bits."""
    with np.errstate(all="ignore"):
        plain = scaled(x, scales[0] / scales[2])
        sloped = scaled(x * slope, scales[0] * scales[1] / scales[2])
    return None if plain is None or sloped is None else np.where(x >= 0, plain, sloped)


def _sum(
    node: ir.Node, a: np.ndarray, b: np.ndarray, scales: tuple[np.float32, np.float32, np.float32]
) -> np.ndarray | None:
    """a + b or a - b in steps of the result, as the kernel rounds: halves to even, or up if marked."""
    ratios = (scales[0] / scales[2], np.float32(_KINDS[node.op_type]) * scales[1] / scales[2])
    coarse = coarse_fixed_point(*ratios) if rounding_of(node) == COARSE else None
    if coarse is not None:
        left, right, shift = coarse
        raised: np.ndarray = (a * left + b * right + (1 << (shift - 1))) >> shift
        return raised
    try:
        left, right, shift = fixed_point(node, *ratios)
    except GraphError:
        return None
    total = a * left + b * right
    rounded: np.ndarray = np.rint(total / 2.0**shift)  # exact: fewer than 53 bits
    return rounded
