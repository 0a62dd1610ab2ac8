"""The cost model: what a key amounts to, fits that find known coefficients, honest errors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiercast.costmodel import features, fit, fit_all, leave_one_out, predict


def test_features_of_a_convolution() -> None:
    key = "Conv2d(1x28x28x64, 40x64x3x3, 40) -> 1x14x14x40 pads=1,1,1,1 strides=2,2"
    macs = 14 * 14 * 40 * 64 * 9
    touched = 4 * (28 * 28 * 64 + 40 * 64 * 9 + 40 + 14 * 14 * 40)
    assert features(key) == (1, macs, macs * 64 / 40, touched)


def test_rows_and_residuals_do_not_count_as_work() -> None:
    plain = "Conv2d(1x8x8x32, 32x32x1x1, -) -> 1x8x8x32"
    added = "conv2d_f32f32 of Conv2d(1x8x8x32, 32x32x1x1, -, -, 1x8x8x32) -> 1x8x8x32"
    assert features(plain)[:3] == features(added)[:3]
    assert features("what is this") == (1, 0, 0, 0)


WEIGHT = st.just(0.0) | st.floats(0.01, 10)


@given(st.tuples(st.floats(0.01, 10), WEIGHT, WEIGHT, WEIGHT))
def test_a_fit_finds_times_that_are_linear(weights: tuple[float, ...]) -> None:
    samples = []
    for number in range(1, 9):
        work = (1.0, float(number), float(number**2 % 7), float(3 * number % 5))
        samples.append((work, sum(a * b for a, b in zip(weights, work, strict=True))))
    fitted = fit(samples)
    assert min(fitted) >= 0
    for work, time in samples:
        assert sum(a * b for a, b in zip(fitted, work, strict=True)) == pytest.approx(time, rel=1e-4)


def _measured(factor: float) -> dict[str, dict[str, float]]:
    keys = [f"Conv2d(1x{n}x{n}x32, 32x32x3x3, -) -> 1x{n}x{n}x32" for n in range(4, 14)]
    return {key: {"direct": 2 + 1e-5 * features(key)[1], "rare": 1.0} for key in keys[:1]} | {
        key: {"direct": (2 + 1e-5 * features(key)[1]) * (factor if number == 3 else 1)}
        for number, key in enumerate(keys[1:])
    }


def test_errors_are_of_keys_left_out() -> None:
    exact = leave_one_out(_measured(1.0))
    assert exact is not None and exact.count == 10 and exact.p95 < 1e-6
    outlier = leave_one_out(_measured(2.0))
    assert outlier is not None and outlier.p95 > 0.2
    assert leave_one_out({"key": {"direct": 1.0}}) is None


def test_only_what_was_measured_often_is_fitted() -> None:
    model = fit_all(_measured(1.0))
    assert list(model) == ["direct"]
    key = "Conv2d(1x50x50x32, 32x32x3x3, -) -> 1x50x50x32"
    assert predict(model["direct"], key) == pytest.approx(2 + 1e-5 * features(key)[1], rel=1e-6)
