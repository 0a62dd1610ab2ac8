"""The weights segment keeps equal bytes once, and never takes different ones for equal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiercast.lower import plan
from tiercast.lower.plan import ALIGNMENT_BYTES, WeightsSegment

ARRAYS = st.lists(
    st.tuples(st.sampled_from(["f4", "f2", "i1", "i8", "?"]), st.integers(0, 3), st.integers(0, 40))
)


def arrays(facts: list[tuple[str, int, int]]) -> list[np.ndarray]:
    return [np.full(size, value, kind) for kind, value, size in facts]


@given(ARRAYS)
def test_every_array_is_found_at_its_offset(facts: list[tuple[str, int, int]]) -> None:
    segment = WeightsSegment()
    offsets = [segment.add(array) for array in arrays(facts)]
    whole = bytes(segment.whole())
    assert len(whole) == segment.size_bytes and len(whole) % ALIGNMENT_BYTES == 0
    for array, offset in zip(arrays(facts), offsets, strict=True):
        assert offset % ALIGNMENT_BYTES == 0 and whole[offset : offset + array.nbytes] == array.tobytes()
    distinct = {array.tobytes() for array in arrays(facts)}
    assert len(whole) == sum(-(-len(data) // ALIGNMENT_BYTES) * ALIGNMENT_BYTES for data in distinct)


def test_order_in_memory_is_made_c_order() -> None:
    segment = WeightsSegment()
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert segment.add(array) == segment.add(np.asfortranarray(array)) == 0
    assert segment.add(array.T) == ALIGNMENT_BYTES


def test_equal_digests_of_different_bytes_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan.xxhash, "xxh3_128_digest", lambda data: b"same")
    segment = WeightsSegment()
    offsets = [segment.add(np.full(4, value, np.float32)) for value in (1, 2, 1)]
    whole = bytes(segment.whole())
    for value, offset in zip((1, 2, 1), offsets, strict=True):
        assert whole[offset : offset + 16] == np.full(4, value, np.float32).tobytes()
