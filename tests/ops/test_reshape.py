"""Lazy reshapes: whatever `regroup` allows leaves the memory where it is."""

from __future__ import annotations

import itertools
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tiercast.ops.reshape import regroup


@st.composite
def reshapes(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Old dims, new dims with as many elements, and a memory order of the old ones."""
    factors = draw(st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=5))

    def grouped() -> tuple[int, ...]:
        cuts = sorted(draw(st.sets(st.integers(1, len(factors) - 1)))) if len(factors) > 1 else []
        bounds = [0, *cuts, len(factors)]
        return tuple(math.prod(factors[a:b]) for a, b in itertools.pairwise(bounds))

    old = grouped()
    return old, grouped(), tuple(draw(st.permutations(range(len(old)))))


@given(reshapes())
def test_regroup_moves_nothing(case: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]) -> None:
    old, new, perm = case
    made = regroup(old, new, perm)
    if made is None:
        return
    logical = np.arange(math.prod(old)).reshape(old)
    memory = np.transpose(logical, perm).reshape(-1)
    wanted = np.transpose(logical.reshape(new), made).reshape(-1)
    assert sorted(made) == list(range(len(new)))
    assert np.array_equal(memory, wanted)


def test_channels_last_stays_where_it_can() -> None:
    assert regroup((1, 8, 4, 6), (1, 8, 24), (0, 2, 3, 1)) == (0, 2, 1)
    assert regroup((1, 8, 1, 1), (1, 8), (0, 2, 3, 1)) == (0, 1)
    assert regroup((1, 8, 4, 6), (1, 192), (0, 2, 3, 1)) is None
