"""Weights of f32 arithmetic in 4 bits, with a scale for each group of rows of each column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

LOW, HIGH = -8, 7
GROUP = 32  # rows, of which a scale in f16 costs half a bit each
# Relative error (2-norm) of weights rounded to 4 bits. Normally distributed ones lose 8.1e-2 (9.7e-2 without
# the search), those of the trained segmentation 6.9e-2 to 8.7e-2, of heavy tails (Laplace) 1.02e-1.
LARGEST_ERROR = 1e-1
_GROUPS = (128, 64, 32, 16)  # that files come with, beside one scale for a whole column
_PROBED = 16  # rows that tell nearly every matrix that is on no grid
_LARGEST_SCALE = 2.0**15  # in units; so scales of 2^-29 of it are still normal in f16
# Candidates of the largest element over the scale: past 8 nothing is clipped, before it the largest are.
_TOPS = np.linspace(5.5, 8.5, 13, dtype=np.float32)
_SLAB = 1 << 20  # elements that are searched at once


@dataclass(frozen=True)
class Int4Weight:
    """matrix[b, k, n] is about values[b, k, n] * scales[b, k // group, n] * unit.

    values: s8 [B,K,N] in -8..7. scales: f16, or f32 where exact, [B,ceil(K/group),N]. unit: a power of two.
    error: |difference| / |matrix|, 2-norms.
    """

    values: np.ndarray
    scales: np.ndarray
    group: int
    unit: float
    error: float
    kind: ClassVar = "int4"
    op_type: ClassVar = "WidenInt4"
    op: ClassVar = "widen_int4_u8f32"

    @property
    def params(self) -> dict[str, int | float]:
        """Of the kernel that widens it, beside the packing."""
        return {"group": self.group, "unit": self.unit}

    @property
    def packed(self) -> np.ndarray:
        """u8 [B,K,ceil(N/2)]: two columns in a byte, the even one in the low bits."""
        columns = self.values.shape[-1]
        low = self.values.view(np.uint8) & 15
        even = np.zeros((*low.shape[:-1], columns + columns % 2), np.uint8)
        even[..., :columns] = low
        return np.asarray(even[..., ::2] | even[..., 1::2] << 4)

    @property
    def refusal(self) -> str | None:
        """Why it is too far from the matrix; None where it is near enough."""
        if self.error <= LARGEST_ERROR:
            return None
        return f"int4 would change a weight by {self.error:.1e} of its size"


def exact_int4(matrix: np.ndarray) -> Int4Weight | None:
    """The 4-bit form of f32 [B,K,N] that gives it back to the bit, None where there is none.

    It has one where the weights were quantized in the model's file, by column or in blocks of rows.
    """
    rows = matrix.shape[1]
    if _exact(matrix[:, :_PROBED], min(rows, _PROBED)) is None:
        return None
    for group in (rows, *(size for size in _GROUPS if size < rows)):
        found = _exact(matrix, group)
        if found is not None:
            return found
    return None


def nearest_int4(matrix: np.ndarray) -> Int4Weight:
    """The 4-bit form of finite f32 [B,K,N] whose groups of up to GROUP rows each have the scale of least
    squared error: some clip their largest elements.
    """
    count = -(-matrix.shape[1] // GROUP)
    group = -(-matrix.shape[1] // count)  # even ones, so that none holds a few rows only
    grouped = _grouped(matrix, group)
    largest = float(np.abs(matrix).max(initial=0.0))
    unit = 2.0 ** np.ceil(np.log2(largest / _TOPS[0] / _LARGEST_SCALE)) if largest > 0 else 1.0
    unit = float(np.clip(unit, 2.0**-126, 2.0**126))
    scales = np.zeros((*grouped.shape[:2], grouped.shape[3]), np.float16)
    values = np.zeros(grouped.shape, np.int8)
    step = max(1, _SLAB // max(1, grouped[0, 0].size))
    flat, flat_scales = (item.reshape(-1, *item.shape[2:]) for item in (grouped, scales))
    flat_values = values.reshape(flat.shape)
    lost = 0.0
    for start in range(0, len(flat), step):
        piece = slice(start, start + step)
        flat_scales[piece], flat_values[piece], missed = _search(flat[piece], unit)
        lost += missed
    size = float(np.linalg.norm(matrix.astype(np.float64)))
    kept = values.reshape(matrix.shape[0], -1, matrix.shape[2])[:, : matrix.shape[1]]
    return Int4Weight(np.ascontiguousarray(kept), scales, group, unit, np.sqrt(lost) / size if size else 0.0)


def _search(groups: np.ndarray, unit: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Scales f16 [G,N], values [G,rows,N] and the sum of squared errors of f32 [G,rows,N].

    A scale's sign is free, so that either end of the range may be the one that reaches to -8.
    """
    positive, negative = np.maximum(groups.max(1), 0), np.maximum(-groups.min(1), 0)
    top = np.where(positive > negative, -positive, negative)  # -8 scales, or less where it clips
    best = np.zeros(top.shape, np.float16)
    least = np.square(groups).sum(1)
    for candidate in _TOPS:
        for sign in (1, -1):
            scale = _half(sign * top / candidate, unit)
            whole = _round(groups, scale, unit)
            wide = scale.astype(np.float32) * np.float32(unit)
            missed = np.square(groups - whole * wide[:, None]).sum(1)
            better = missed < least
            best, least = np.where(better, scale, best), np.where(better, missed, least)
    whole = _round(groups, best, unit)
    refined = _fit(groups, whole, unit)
    wide = refined.astype(np.float32) * np.float32(unit)
    fitted = np.square(groups - whole * wide[:, None]).sum(1)
    best = np.where(fitted < least, refined, best)
    lost = groups.astype(np.float64) - whole * (best.astype(np.float32) * np.float32(unit))[:, None]
    return best, whole.astype(np.int8), float(np.square(lost).sum())


def _fit(groups: np.ndarray, whole: np.ndarray, unit: float) -> np.ndarray:
    """The scales of least squared error for these integers."""
    squares = np.square(whole).sum(1)
    return _half((groups * whole).sum(1) / np.where(squares > 0, squares, 1), unit)


def _half(scales: np.ndarray, unit: float) -> np.ndarray:
    return np.asarray(scales / np.float32(unit), np.float16)


def _round(groups: np.ndarray, scales: np.ndarray, unit: float) -> np.ndarray:
    """f32 integers within -8..7."""
    wide = scales.astype(np.float32) * np.float32(unit)
    divisors = np.where(wide != 0, wide, np.float32(np.inf))[:, None]
    return np.clip(np.rint(groups / divisors), LOW, HIGH)


def _grouped(matrix: np.ndarray, group: int) -> np.ndarray:
    """[B,K,N] -> [B,ceil(K/group),group,N], zeros beyond K."""
    batch, rows, columns = matrix.shape
    count = -(-rows // group)
    if count * group != rows:
        matrix = np.concatenate([matrix, np.zeros((batch, count * group - rows, columns), np.float32)], 1)
    return matrix.reshape(batch, count, group, columns)


def _exact(matrix: np.ndarray, group: int) -> Int4Weight | None:
    """With these groups, and scales in f32."""
    grouped = _grouped(matrix, group)
    largest, lowest = np.abs(grouped).max(2), -grouped.min(2)
    scales, found = np.zeros_like(largest), largest == 0
    for most in range(1, -LOW + 1):  # the largest element is so many scales
        near = largest / np.float32(most) * np.where(lowest == largest, 1, -1 if most == -LOW else 1)
        near = near.astype(np.float32)
        for scale in (
            near,
            np.nextafter(near, np.float32(0)),
            np.nextafter(near, np.copysign(np.float32(np.inf), near)),
        ):
            whole = _whole(grouped, scale)
            better = ~found & (whole * scale[:, :, None] == grouped).all(2)
            scales, found = np.where(better, scale, scales), found | better
        if found.all():
            break
    if not found.all():
        return None
    whole = _whole(grouped, scales).reshape(matrix.shape[0], -1, matrix.shape[2])[:, : matrix.shape[1]]
    return Int4Weight(np.ascontiguousarray(whole.astype(np.int8)), scales, group, 1.0, 0.0)


def _whole(grouped: np.ndarray, scales: np.ndarray) -> np.ndarray:
    divisors = np.where(scales != 0, scales, np.float32(np.inf))[:, :, None]
    return np.clip(np.rint(grouped / divisors), LOW, HIGH)
