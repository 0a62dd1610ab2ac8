"""Weights of f32 arithmetic as s8 with a scale for each column, symmetric around zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

MOST = 127  # -128 stays unused, so that every value has its negative
# Relative error (in the 2-norm) of weights rounded to s8; some 8e-3 is what rounding costs normally
# distributed columns of hundreds of elements.
LARGEST_ERROR = 2e-2
_PROBED = 32  # rows that tell nearly every matrix that is on no grid
_OFF_GRID = 1e-3  # of a step


@dataclass(frozen=True)
class Int8Weight:
    """matrix[b, k, n] is about values[b, k, n] * scales[b, n].

    values: s8 [B,K,N]. scales: f32 [B,N], 0 where a column is. error: |difference| / |matrix|, 2-norms.
    """

    values: np.ndarray
    scales: np.ndarray
    error: float
    kind: ClassVar = "int8"
    op_type: ClassVar = "WidenWeights"
    op: ClassVar = "widen_weights_s8f32"
    params: ClassVar[dict[str, int | float]] = {}

    @property
    def packed(self) -> np.ndarray:
        """As the package keeps the values."""
        return self.values

    @property
    def refusal(self) -> str | None:
        """Why it is too far from the matrix; None where it is near enough."""
        if self.error <= LARGEST_ERROR:
            return None
        return f"int8 would change a weight by {self.error:.1e} of its size"


def exact_int8(matrix: np.ndarray) -> Int8Weight | None:
    """The s8 form of f32 [B,K,N] that gives it back to the bit, None where there is none.

    It has one where the weights were quantized in the model's file: their largest element, of the column or
    of all, is then 127 scales, but for the rounding of f32.
    """
    largest = np.max(np.abs(matrix), axis=1)
    near = _grid(matrix[:, :_PROBED], largest)
    if near is None or (near := _grid(matrix, largest)) is None:
        return None
    scales, found = np.zeros_like(near), largest == 0
    for candidate in (near, np.nextafter(near, np.float32(0)), np.nextafter(near, np.float32(np.inf))):
        better = ~found & (_round(matrix, candidate) * candidate[:, None] == matrix).all(axis=1)
        scales, found = np.where(better, candidate, scales), found | better
    return Int8Weight(_round(matrix, scales).astype(np.int8), scales, 0.0) if found.all() else None


def nearest_int8(matrix: np.ndarray) -> Int8Weight:
    """The s8 form of finite f32 [B,K,N] in which the largest element of each column is 127."""
    scales = np.max(np.abs(matrix), axis=1) / np.float32(MOST)
    values = _round(matrix, scales)
    lost = np.linalg.norm((values * scales[:, None]).astype(np.float64) - matrix)
    size = float(np.linalg.norm(matrix.astype(np.float64)))
    return Int8Weight(values.astype(np.int8), scales, float(lost) / size if size else 0.0)


def _grid(matrix: np.ndarray, largest: np.ndarray) -> np.ndarray | None:
    """[B,N]: the 127th of the column's largest element, or of all, whose multiples the column holds, but for
    the rounding of f32; None where a column holds multiples of neither.
    """
    found = np.full_like(largest, -1)
    for top in (np.full_like(largest, largest.max(initial=0.0)), largest):
        near = top / np.float32(MOST)
        steps = matrix / np.where(near > 0, near, np.float32(1))[:, None]
        found = np.where(np.abs(steps - np.rint(steps)).max(axis=1, initial=0.0) < _OFF_GRID, near, found)
    return None if (found < 0).any() else found


def _round(matrix: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """f32 integers within -127..127."""
    divisors = np.where(scales > 0, scales, np.float32(1))[:, None]
    return np.clip(np.rint(matrix / divisors), -MOST, MOST)
