"""Arena offsets for buffers with lifetimes: greedy by size (Pisarchyk & Lee 2020, arXiv:2001.03288, §5.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tiercast.lower.plan import ALIGNMENT_BYTES


@dataclass(frozen=True)
class Lifetime:
    """A buffer that must exist from step `first` to step `last`, both included."""

    size_bytes: int
    first: int
    last: int

    def overlaps(self, other: Lifetime) -> bool:
        """Whether both exist in some step."""
        return self.first <= other.last and other.first <= self.last


def plan_arena(buffers: Sequence[Lifetime]) -> tuple[list[int], int]:
    """A byte offset for each buffer such that no two that live at once overlap, and the arena's size in
    bytes.
    """
    offsets = [0] * len(buffers)
    placed: list[int] = []
    for index in sorted(range(len(buffers)), key=lambda item: (-buffers[item].size_bytes, item)):
        offsets[index] = _lowest_gap(buffers, offsets, placed, index)
        placed.append(index)
    return offsets, max(
        (offset + _aligned(item) for offset, item in zip(offsets, buffers, strict=True)), default=0
    )


def _lowest_gap(
    buffers: Sequence[Lifetime], offsets: Sequence[int], placed: Sequence[int], index: int
) -> int:
    neighbours = sorted(
        (offsets[other], other) for other in placed if buffers[other].overlaps(buffers[index])
    )
    candidate = 0
    for offset, other in neighbours:
        if candidate + _aligned(buffers[index]) <= offset:
            break
        candidate = max(candidate, offset + _aligned(buffers[other]))
    return candidate


def _aligned(buffer: Lifetime) -> int:
    return -(-buffer.size_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
