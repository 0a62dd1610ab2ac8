"""How far an array is from its reference, and what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

# What an output may differ by, relative to its largest value, by the precision that the package was compiled
# in. f16 has 11 bits, and sums of a thousand products in it lose some three of them. Weights in s8 are off by
# 0.4 to 0.8 %, in 4 bits by 6 to 9 %, which nets enlarge: to 0.145 and 0.72 at the edges of a trained
# segmentation's masks (worst of 40 pictures; docs/quantize.md).
TOLERANCES = {"f32": 1e-4, "f16-weights": 5e-3, "f16": 2e-2, "int8-weights": 1.5e-1, "int4-weights": 7.5e-1}
# Of a quantized model's real values: a step of its integers is a 255th of their range, two may be off.
QUANTIZED_TOLERANCE = 2e-2
# Of its s8 and u8 values: by how many steps any may differ, and which share by more than one.
_MOST_STEPS, _BEYOND_ONE = 2, 1e-3
# A reference that is zero everywhere would make any rounding an infinite relative error.
_SMALLEST_SCALE = 1e-6


@dataclass(frozen=True)
class Difference:
    """How far an array is from its reference.

    max_abs_error: max |got - reference|; max_rel_error: the same divided by max |reference| (at least 1e-6).
    nonfinite: elements where only one of the two is NaN or infinite, or the infinities differ; they count in
    no maximum. shared_nan: elements that are NaN in both.
    """

    max_abs_error: float
    max_rel_error: float
    nonfinite: int
    shared_nan: int = 0

    def within(self, tolerance: float) -> bool:
        """Whether the relative error is at most `tolerance` and all non-finite elements agree."""
        return self.nonfinite == 0 and self.max_rel_error <= tolerance


@dataclass(frozen=True)
class Element:
    """One element of an array that is compared: where, what it is, what it should be (None: not known)."""

    at: tuple[int, ...]
    got: float
    expected: float | None


def difference(got: np.ndarray, expected: np.ndarray) -> Difference:
    """Element-wise comparison of two arrays of one shape, in double precision."""
    if got.shape != expected.shape:
        return Difference(float("inf"), float("inf"), max(got.size, expected.size))
    left, right = got.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(left) & np.isfinite(right)
    same = (np.isnan(left) & np.isnan(right)) | (left == right)
    gap = np.subtract(left, right, out=np.zeros_like(left), where=finite)
    largest = float(np.max(np.abs(gap), initial=0.0))
    scale = float(np.max(np.abs(right), initial=_SMALLEST_SCALE, where=np.isfinite(right)))
    shared_nan = int(np.count_nonzero(np.isnan(left) & np.isnan(right)))
    return Difference(largest, largest / scale, int(np.count_nonzero(~finite & ~same)), shared_nan)


def allowed_difference(facts: Mapping[str, str]) -> float:
    """What outputs of a plan with these facts may differ by, relative to their largest value."""
    return QUANTIZED_TOLERANCE if "integers" in facts else TOLERANCES[facts.get("precision", "f32")]


def agree(
    found: Difference, got: np.ndarray, expected: np.ndarray, tolerance: float, quantized: bool
) -> bool:
    """Whether the difference found of two arrays is within the tolerance; quantized s8, u8 also by steps."""
    small = quantized and got.dtype in (np.int8, np.uint8) and got.shape == expected.shape
    return found.within(tolerance) or (small and within_steps(got, expected))


def within_steps(got: np.ndarray, expected: np.ndarray) -> bool:
    """Whether quantized integers differ by at most two steps, and by more than one in 0.1 % of them."""
    steps = np.abs(got.astype(np.int64) - expected.astype(np.int64))
    return bool(steps.max(initial=0) <= _MOST_STEPS and np.mean(steps > 1) <= _BEYOND_ONE)


def worst_element(got: np.ndarray, expected: np.ndarray) -> Element:
    """The element furthest from its reference; one that only one side can't represent is further than any."""
    with np.errstate(invalid="ignore"):
        gap = np.abs(got.astype(np.float64) - expected.astype(np.float64))
    same = (got == expected) | (np.isnan(got.astype(np.float64)) & np.isnan(expected.astype(np.float64)))
    gap[np.isnan(gap)] = np.inf
    gap[same] = 0.0
    at = np.unravel_index(int(np.argmax(gap)), gap.shape) if gap.size else ()
    if not gap.size:
        return Element((), 0.0, 0.0)
    return Element(tuple(int(axis) for axis in at), float(got[at]), float(expected[at]))
