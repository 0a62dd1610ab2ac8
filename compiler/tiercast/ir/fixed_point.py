"""gemmlowp's fixed point, as TensorFlow Lite's reference kernels compute with it."""

from __future__ import annotations

import numpy as np

_MOST_LEFT = 14  # |values| below 2^17 stay in 32 bits
_MOST_RIGHT = 31


def scaled(values: np.ndarray, factor: np.floating) -> np.ndarray | None:
    """values * factor in s64, the factor as a 31-bit multiplier and a shift, rounded twice.

    values: integers with |value| < 2^17. TensorFlow Lite's QuantizeMultiplier and
    MultiplyByQuantizedMultiplier (without single rounding). None for factors so large that 32 bits overflow,
    negative ones and those that are not finite.
    """
    if not np.isfinite(factor) or factor < 0:
        return None
    fraction, exponent = np.frexp(float(factor))
    multiplier = int(np.floor(fraction * (1 << 31) + 0.5))
    if multiplier == 1 << 31:
        multiplier, exponent = multiplier >> 1, exponent + 1
    if exponent > _MOST_LEFT:
        return None
    if exponent < -_MOST_RIGHT:
        return np.zeros_like(values)
    product = (values << max(int(exponent), 0)) * multiplier
    raised = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    high = np.sign(raised) * (np.abs(raised) >> 31)  # towards zero
    return rounded_shift(high, -int(exponent))


def rounded_shift(values: np.ndarray, bits: int) -> np.ndarray:
    """values / 2^bits, rounded to the nearest, halves away from zero; values themselves for bits <= 0."""
    if bits <= 0:
        return values
    mask = (1 << bits) - 1
    up = (values & mask) > (mask >> 1) + (values < 0)
    shifted: np.ndarray = (values >> bits) + up
    return shifted
