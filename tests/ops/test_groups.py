"""Groups of a convolution joined: the weight stays the same filters, and only small groups are joined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiercast.kernel import Case
from tiercast.lower.case import case_model
from tiercast.lower.lowering import lower_graph
from tiercast.ops.groups import join
from tiercast.target import find_target
from tiercast.tuning import Decisions


@given(
    rest=st.integers(1, 3), together=st.integers(1, 4), filters=st.integers(1, 3), channels=st.integers(1, 3)
)
def test_joined_groups_see_their_channels_and_no_others(
    rest: int, together: int, filters: int, channels: int
) -> None:
    group = rest * together
    weight = np.random.default_rng(0).standard_normal((group * filters, channels, 2, 1)).astype(np.float32)
    joined = join(weight, group, together)
    assert joined.shape == (group * filters, channels * together, 2, 1)
    for index, found in enumerate(joined):
        first = index // filters % together * channels
        np.testing.assert_array_equal(found[first : first + channels], weight[index])
        others = np.delete(found, slice(first, first + channels), axis=0)
        np.testing.assert_array_equal(others, 0)


@pytest.mark.parametrize("target", ["linux-arm64", "linux-arm64-v82"])
@pytest.mark.parametrize(
    ("weight", "group", "chosen"),
    [
        ("const 128x4x3x3", 32, ["1 of 32 groups"]),  # NEON's narrowest panel
        ("const 32x2x3x3", 16, ["2 of 16 groups"]),
        ("const 16x2x3x3", 16, ["4 of 16 groups"]),
        ("const 64x32x3x3", 2, []),
        ("const 64x48x1x1", 1, []),
    ],
)
def test_groups_are_joined_until_they_fill_a_panel(
    target: str, weight: str, group: int, chosen: list[str]
) -> None:
    channels = group * int(weight.split("x")[1])
    decisions = Decisions(find_target(target))
    model, _ = case_model(Case("Conv2d", (f"1x14x14x{channels}", weight), {"group": group}))
    lower_graph(model, find_target(target), decisions=decisions)
    assert [made.chosen for made in decisions.made.values() if not made.of_rows] == chosen
