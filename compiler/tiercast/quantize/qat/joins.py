"""Which of the values that meet in a concatenation or an interpolation get one scale."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tiercast.quantize.qat.config import Range
from tiercast.quantize.qat.points import Join

# Of what is joined, a piece that others read too shares the scale unless that would cost it more than a bit.
_SHARED_FROM = 0.5


@dataclass(frozen=True)
class NamedJoin:
    """A `points.Join` by the names of its values."""

    whole: str
    pieces: tuple[str, ...]
    alone: frozenset[str]
    always: bool


def named(joins: Iterable[Join]) -> list[NamedJoin]:
    """Joins by names, which outlive the graph that they were found in."""
    return [
        NamedJoin(
            join.whole.name,
            tuple(piece.name for piece in join.pieces),
            frozenset(piece.name for piece in join.alone),
            join.always,
        )
        for join in joins
    ]


def share_ranges(joins: Sequence[NamedJoin], ranges: Mapping[str, Range]) -> dict[str, Range]:
    """The range of each value, by name, equal for those that share a scale: the union of theirs.

    A piece of a concatenation that keeps its own is brought to the whole's by a table.
    """
    groups = {name: {name} for name in ranges}

    def union(group: set[str]) -> Range:
        return min(ranges[item][0] for item in group), max(ranges[item][1] for item in group)

    for join in joins:
        for piece in join.pieces:
            together = groups[join.whole] | groups[piece]
            near = _span(ranges[piece]) >= _SHARED_FROM * _span(union(together))
            if join.always or piece in join.alone or near:
                for item in together:
                    groups[item] = together
    return {name: union(group) for name, group in groups.items()}


def _span(found: Range) -> float:
    return found[1] - found[0]
