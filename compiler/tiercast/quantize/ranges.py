"""From what was seen of a value to the range that its 256 steps cover: four methods.

minmax: all that was seen. percentile: all but a share of 1e-5 at either end. entropy: the range whose
quantized histogram has the least Kullback-Leibler divergence from the values' (after Migacz, "8-bit inference
with TensorRT", 2017, here for asymmetric ranges). mse: the range with the least mean squared error.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tiercast.errors import UsageError
from tiercast.passes.quantization import Quantization
from tiercast.quantize import scheme
from tiercast.quantize.observe import BINS, Seen

METHODS = ("minmax", "percentile", "entropy", "mse")
_OUTLIERS = 1e-5
_UNSEEN = 1e-9  # share of a bin that the quantized values do not reach
_SHARES = np.linspace(1.0, 0.2, 41)  # of an end of the range: what is tried


def range_of(seen: Seen, method: str) -> tuple[float, float]:
    """The range for a value by one of METHODS; 0 is in it. UsageError for another method."""
    if method not in METHODS:
        raise UsageError(f"method {method!r} is unknown; known: {', '.join(METHODS)}")
    whole = (min(seen.low, 0.0), max(seen.high, 0.0))
    if method == "minmax" or seen.constant:
        return whole
    if method == "percentile":
        return _percentile(seen)
    if method == "mse":
        return _least(seen, seen.counts, whole, _squared_error)
    return _least(seen, _without_zeros(seen), whole, _divergence)


def _percentile(seen: Seen) -> tuple[float, float]:
    edges = np.linspace(seen.low, seen.high, BINS + 1)
    below = np.cumsum(seen.counts) / seen.counts.sum()
    low = edges[np.searchsorted(below, _OUTLIERS, side="right")]
    high = edges[np.searchsorted(below, 1 - _OUTLIERS) + 1]
    return min(float(low), 0.0), max(float(high), 0.0)


def _least(
    seen: Seen,
    counts: np.ndarray,
    whole: tuple[float, float],
    loss: Callable[[np.ndarray, np.ndarray, Quantization], float],
) -> tuple[float, float]:
    """The range of least loss: both ends drawn in together, then each alone."""
    edges = np.linspace(seen.low, seen.high, BINS + 1)
    middles = (edges[1:] + edges[:-1]) / 2

    def judge(low: float, high: float) -> float:
        return loss(middles, counts, scheme.activation(whole[0] * low, whole[1] * high))

    both = min(_SHARES, key=lambda share: judge(share, share))
    low = min(_SHARES, key=lambda share: judge(share, both)) if whole[0] < 0 else both
    high = min(_SHARES, key=lambda share: judge(low, share)) if whole[1] > 0 else both
    return whole[0] * float(low), whole[1] * float(high)


def _without_zeros(seen: Seen) -> np.ndarray:
    """The counts with that of the bin of 0, which relu fills and every range holds exactly, as its neighbours
    have."""
    counts = seen.counts.copy()
    if seen.low <= 0 <= seen.high:
        at = min(int(-seen.low / (seen.high - seen.low) * BINS), BINS - 1)
        near = [counts[side] for side in (at - 1, at + 1) if 0 <= side < BINS]
        counts[at] = min(counts[at], max(near))
    return counts


def _squared_error(middles: np.ndarray, counts: np.ndarray, how: Quantization) -> float:
    error = scheme.fake_quantized(middles, how).astype(np.float64) - middles
    # The bins are finer than the steps, or nearly: within a bin a step's error is that of its middle.
    return float((error * error * counts).sum())


def _divergence(middles: np.ndarray, counts: np.ndarray, how: Quantization) -> float:
    """KL(clipped values || quantized values) over the bins inside the range. What lies outside counts as the
    outermost bins of the former; in the latter each step's mass is spread evenly over its bins that hold
    values."""
    low, high = ((end - how.signed_zero) * float(how.one_scale) for end in (scheme.LOW, scheme.HIGH))
    inside = np.flatnonzero((middles >= low) & (middles <= high))
    if len(inside) == 0:
        return float("inf")
    first, last = inside[0], inside[-1]
    within = counts[first : last + 1].astype(np.float64)
    clipped = within.copy()
    clipped[0] += counts[:first].sum()
    clipped[-1] += counts[last + 1 :].sum()
    steps = how.quantize(middles[first : last + 1]).astype(np.int64) + 128
    bins = np.bincount(steps[within > 0], minlength=256)
    spread = np.where(within > 0, np.bincount(steps, within, 256)[steps] / np.maximum(bins[steps], 1), 0.0)
    if spread.sum() == 0:
        return float("inf")
    filled = clipped > 0
    share = clipped[filled] / clipped.sum()
    other = np.maximum(spread[filled] / spread.sum(), _UNSEEN)
    return float((share * np.log(share / other)).sum())
