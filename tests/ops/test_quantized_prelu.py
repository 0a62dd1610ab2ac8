"""Slopes are found for tables of channels exactly where all of their entries come out."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tiercast.ops.quantized_prelu import slopes_of

_BYTES = st.integers(-128, 127)
_SLOPES = st.tuples(st.floats(-4, 4, width=32), st.floats(-4, 4, width=32))
_SIGNED = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.float32)


def tables(slopes: np.ndarray, x_zero: int, y_zero: int, low: int, high: int) -> np.ndarray:
    """The tables s8 [C,256] that slopes f32 [2,C] make."""
    centred = _SIGNED - np.float32(x_zero)
    wide = np.where(centred < 0, slopes[0][:, None], slopes[1][:, None]) * centred
    return np.clip(np.rint(wide) + y_zero, low, high).astype(np.int8)


@given(
    slopes=st.lists(_SLOPES, min_size=1, max_size=5),
    x_zero=_BYTES,
    y_zero=_BYTES,
    limits=st.tuples(_BYTES, _BYTES).map(sorted),
)
def test_what_slopes_make_is_made_by_the_slopes_found(
    slopes: list[tuple[float, float]], x_zero: int, y_zero: int, limits: list[int]
) -> None:
    """Often enough other slopes, never other entries."""
    low, high = limits
    y_zero = min(max(y_zero, low), high)
    wanted = tables(np.array(slopes, np.float32).T, x_zero, y_zero, low, high)
    found = slopes_of(wanted, x_zero, y_zero)
    assert found is not None
    made = tables(found, x_zero, y_zero, int(wanted.min()), int(wanted.max()))
    np.testing.assert_array_equal(made, wanted)


def test_a_curve_has_no_slopes() -> None:
    """Nor has a line around another point than the one that is said."""
    curve = np.clip(np.rint(np.tanh(_SIGNED / 64) * 100), -128, 127).astype(np.int8)
    assert slopes_of(curve[None], 0, 0) is None
    line = tables(np.full((2, 1), 0.4, np.float32), 0, 0, -128, 127)
    assert slopes_of(line, 0, 0) is not None
    assert slopes_of(line, 20, 0) is None
