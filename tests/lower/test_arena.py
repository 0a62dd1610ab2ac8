"""The arena plan: what lives at once never overlaps, and the arena is not smaller than what lives at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tiercast.lower.arena import Lifetime, plan_arena
from tiercast.lower.plan import ALIGNMENT_BYTES

LIFETIMES = st.lists(
    st.builds(
        lambda size, first, length: Lifetime(size, first, first + length),
        st.integers(1, 5000),
        st.integers(0, 20),
        st.integers(0, 8),
    ),
    max_size=30,
)


def aligned(size_bytes: int) -> int:
    return -(-size_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


@given(LIFETIMES)
def test_buffers_that_live_at_once_do_not_overlap(buffers: list[Lifetime]) -> None:
    offsets, arena_bytes = plan_arena(buffers)
    spans = [(offset, offset + buffer.size_bytes) for offset, buffer in zip(offsets, buffers, strict=True)]
    for index, (begin, end) in enumerate(spans):
        assert begin % ALIGNMENT_BYTES == 0 and end <= arena_bytes
        for other in range(index):
            if buffers[index].overlaps(buffers[other]):
                assert end <= spans[other][0] or spans[other][1] <= begin


@given(LIFETIMES)
def test_arena_holds_the_fullest_step_and_never_more_than_everything(buffers: list[Lifetime]) -> None:
    _, arena_bytes = plan_arena(buffers)
    steps = range(max((buffer.last for buffer in buffers), default=0) + 1)
    fullest = max(sum(aligned(b.size_bytes) for b in buffers if b.first <= step <= b.last) for step in steps)
    assert fullest <= arena_bytes <= sum(aligned(buffer.size_bytes) for buffer in buffers)


@given(st.integers(1, 5000), st.integers(2, 20))
def test_a_chain_of_equal_layers_takes_two(size_bytes: int, layers: int) -> None:
    # Layer after layer, each reading only the one before: ping and pong.
    _, arena_bytes = plan_arena([Lifetime(size_bytes, index, index + 1) for index in range(layers)])
    assert arena_bytes == 2 * aligned(size_bytes)


def test_memory_is_reused() -> None:
    offsets, arena_bytes = plan_arena([Lifetime(1024, 0, 1), Lifetime(512, 1, 2), Lifetime(1024, 2, 3)])
    assert offsets[0] == offsets[2] == 0
    assert arena_bytes == 1024 + 512


def test_no_buffers_need_no_arena() -> None:
    assert plan_arena([]) == ([], 0)
