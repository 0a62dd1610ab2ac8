"""Ranges from what was seen: each method on distributions whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from tiercast.errors import UsageError
from tiercast.quantize import scheme
from tiercast.quantize.observe import BINS, Seen
from tiercast.quantize.ranges import METHODS, range_of


def seen(data: np.ndarray) -> Seen:
    low, high = float(data.min()), float(data.max())
    counts = np.histogram(data, BINS, (low, high))[0]
    return Seen(low, high, counts, np.zeros(1), np.zeros(1))


def values(outlier: float = 0.0) -> np.ndarray:
    data = np.random.default_rng(0).standard_normal(200_000)
    return np.append(data, outlier) if outlier else data


def test_minmax_is_what_was_seen() -> None:
    data = values()
    assert range_of(seen(data), "minmax") == (data.min(), data.max())


@pytest.mark.parametrize("method", ["percentile", "entropy", "mse"])
def test_one_outlier_does_not_rule(method: str) -> None:
    low, high = range_of(seen(values(outlier=16.0)), method)
    assert -5.5 < low < -2 and 2 < high < (13 if method == "mse" else 9)  # one square of 16 is much


def test_mse_has_the_least_error_of_all_methods() -> None:
    data = values(outlier=30.0).astype(np.float32)

    def error(method: str) -> float:
        how = scheme.activation(*range_of(seen(data), method))
        return float(np.square(scheme.fake_quantized(data, how) - data).mean())

    errors = {method: error(method) for method in METHODS}
    assert errors["mse"] <= min(errors.values()) * 1.02


@pytest.mark.parametrize("method", METHODS)
def test_zero_is_always_within(method: str) -> None:
    for data in (np.abs(values()) + 3, -np.abs(values()) - 3, np.full(9, 2.5), np.zeros(9)):
        low, high = range_of(seen(data), method)
        assert low <= 0 <= high and np.isfinite([low, high]).all()


def test_unknown_methods_are_refused() -> None:
    with pytest.raises(UsageError, match="minmax, percentile, entropy, mse"):
        range_of(seen(values()), "magic")
