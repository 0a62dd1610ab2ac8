"""Two results of `tiercast bench kernels --json` side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiercast.errors import UsageError

FIGURES = {"instructions": "instructions", "min_us": "us"}
"""What a row's cost may be, the exact one first, and its unit."""

Key = tuple[str, str]


@dataclass(frozen=True)
class Change:
    """A row on a case in both results; `percent` above 0 is a cost that rose."""

    row: str
    case: str
    before: float
    after: float

    @property
    def percent(self) -> float:
        """By how much the cost rose."""
        return 100 * (self.after - self.before) / self.before


@dataclass(frozen=True)
class Comparison:
    """unit: of the costs. changes: rows that both have, most risen first. gone, new: the others."""

    unit: str
    changes: tuple[Change, ...]
    gone: tuple[str, ...]
    new: tuple[str, ...]

    def risen(self, limit_percent: float) -> tuple[Change, ...]:
        """The rows whose cost rose by more than that."""
        return tuple(change for change in self.changes if change.percent > limit_percent)


def read_result(path: Path) -> dict[str, Any]:
    """A result file; UsageError when it is none."""
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} can't be read: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("kernels"), list):
        raise UsageError(f"{path} is no result of `tiercast bench kernels --json`")
    return document


def compare_results(before: Mapping[str, Any], after: Mapping[str, Any]) -> Comparison:
    """Row by row. UsageError where one was timed and the other counted."""
    figure = next((name for name in FIGURES if _costs(before, name) and _costs(after, name)), None)
    if figure is None:
        raise UsageError("one result holds times and the other instruction counts, or one of them is empty")
    old, new = _costs(before, figure), _costs(after, figure)
    changes = [Change(*key, old[key], new[key]) for key in old.keys() & new.keys()]
    changes.sort(key=lambda change: (-change.percent, change.row, change.case))
    return Comparison(
        FIGURES[figure], tuple(changes), _texts(old.keys() - new.keys()), _texts(new.keys() - old.keys())
    )


def _costs(document: Mapping[str, Any], figure: str) -> dict[Key, float]:
    rows = document["kernels"]
    return {
        (row["row"], row["case"]): row[figure] for row in rows if not row.get("refused") and row.get(figure)
    }


def _texts(keys: set[Key]) -> tuple[str, ...]:
    return tuple(f"{row}: {case}" for row, case in sorted(keys))
