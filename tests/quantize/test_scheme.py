"""The laws of our integer arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiercast.quantize import scheme

ENDS = st.floats(-1e6, 1e6, width=32)


@given(ENDS, ENDS)
def test_zero_is_exact_and_the_range_is_held(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    how = scheme.activation(low, high)
    assert scheme.LOW <= how.signed_zero <= scheme.HIGH
    assert scheme.fake_quantized(np.zeros(1, np.float32), how)[0] == 0.0
    ends = np.array([low, high], np.float32)
    step = float(how.one_scale)
    assert np.abs(scheme.fake_quantized(ends, how) - ends).max() <= step * 1.01


@given(st.floats(-100, 100, width=32))
def test_what_is_always_one_value_is_exact(value: float) -> None:
    how = scheme.activation(value, value)
    got = scheme.fake_quantized(np.array([value], np.float32), how)[0]
    assert got == pytest.approx(value, rel=1e-5, abs=float(scheme.SMALLEST_SCALE))


@given(st.integers(0, 2**31), st.integers(0, 1))
def test_weights_are_symmetric_and_near(seed: int, axis: int) -> None:
    weight = np.random.default_rng(seed).standard_normal((5, 7)).astype(np.float32)
    scales = scheme.weight_scales(weight, axis)
    whole = scheme.weight_integers(weight, scales, axis)
    assert whole.min() >= -127 and np.array_equal(scheme.weight_integers(-weight, scales, axis), -whole)
    along = scales.reshape(-1, 1) if axis == 0 else scales
    assert (np.abs(whole * along - weight) <= along * 0.501).all()
    assert (np.abs(whole).max(axis=1 - axis) == 127).all()


def test_a_bias_that_leaves_s32_enlarges_its_channels_scale() -> None:
    bias, scales = np.array([1e6, 0.5], np.float32), np.array([1e-9, 1e-3], np.float32)
    wider = scheme.scales_for_bias(scales, bias, np.float32(0.01))
    assert wider[0] > scales[0] and wider[1] == scales[1]
    steps = wider.astype(np.float64) * 0.01
    assert np.allclose(scheme.bias_integers(bias, np.float32(0.01), wider) * steps, bias, rtol=1e-2)


def test_ranges_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        scheme.activation(float("nan"), 1.0)
