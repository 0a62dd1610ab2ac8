"""Who counts, who is best, and by how much ours is ahead or behind; in time, start, memory and threads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tiercast.peers.drive import Cell
from tiercast.peers.engines import OURS

MAX_ERROR = 1e-3
"""An f32 engine whose result is further than this (relative) from the reference does not count, however fast;
an int8 engine must reach the subject's `bound_db`.
"""


def counts(cell: Cell) -> bool:
    """True where the engine ran and answered right."""
    return not cell.failed and cell.ms is not None and is_right(cell)


def is_right(cell: Cell) -> bool:
    """True where the answer is near enough to the reference."""
    if cell.bound_db is not None:
        return cell.sqnr_db is not None and cell.sqnr_db >= cell.bound_db
    return cell.error is not None and cell.error <= MAX_ERROR


def start_ms(cell: Cell) -> float:
    """Load and first run together, in CPU time, which neighbours hardly inflate."""
    return (cell.load_cpu_ms or 0) + (cell.first_cpu_ms or 0)


def score(cells: Mapping[str, Cell]) -> dict[str, Any]:
    """Of one model and thread count: the best counting peer and ours / best, of time, start and memory.

    None where either is missing.
    """
    best, ratio = _against_best(cells, lambda cell: cell.ms or 0)
    quickest, start_ratio = _against_best(cells, start_ms)
    leanest, memory_ratio = _against_best(cells, lambda cell: cell.peak_growth_mb or 0)
    return {
        "best_peer": best, "best_ms": cells[best].ms if best else None, "ratio": ratio,
        "quickest_start": quickest, "start_ratio": start_ratio,
        "leanest_peer": leanest, "memory_ratio": memory_ratio,
    }  # fmt: skip


def summary(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Of all models of a thread count, from their `score`s and cells.

    geometric_mean_ratio, start_ratio_mean: geometric means of ours / best peer over the `models_counted`.
    against: engine -> geometric mean of ours / that engine's time over the models where both count.
    """
    ratios = [row["ratio"] for row in rows.values() if row["ratio"]]
    starts = [row["start_ratio"] for row in rows.values() if row["start_ratio"]]
    memory = [row["memory_ratio"] for row in rows.values() if row["memory_ratio"] is not None]
    return {
        "geometric_mean_ratio": geometric_mean(ratios), "models_counted": len(ratios), "models": len(rows),
        "worst_ratio": max(ratios, default=None), "slower_than_best": sum(ratio > 1 for ratio in ratios),
        "start_ratio_mean": geometric_mean(starts),
        "start_at_most_half": sum(ratio <= 0.5 for ratio in starts),
        "leanest_or_leaner": sum(ratio <= 1 for ratio in memory), "memory_counted": len(memory),
        "against": _against(rows),
    }  # fmt: skip


def efficiency(one: Mapping[str, Cell], more: Mapping[str, Cell]) -> dict[str, float]:
    """engine -> wall time with one thread / wall time with more, where it counts with both."""
    return {
        name: cell.wall_ms / more[name].wall_ms  # type: ignore[operator]
        for name, cell in one.items()
        if counts(cell) and counts(more[name]) and cell.wall_ms and more[name].wall_ms
    }


def geometric_mean(values: Iterable[float]) -> float | None:
    """None of nothing."""
    logarithms = [math.log(value) for value in values]
    return math.exp(sum(logarithms) / len(logarithms)) if logarithms else None


def _against_best(
    cells: Mapping[str, Cell], figure: Callable[[Cell], float]
) -> tuple[str | None, float | None]:
    peers = {name: figure(cell) for name, cell in cells.items() if name != OURS and counts(cell)}
    best = min(peers, key=lambda name: peers[name], default=None)
    ours = cells.get(OURS)
    if best is None or ours is None or not counts(ours) or peers[best] <= 0:
        return best, None
    return best, figure(ours) / peers[best]


def _against(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    pairs: dict[str, list[float]] = {}
    for row in rows.values():
        cells = {name: Cell(**cell) for name, cell in row["engines"].items()}
        ours = cells.get(OURS)
        if ours is None or not counts(ours) or not ours.ms:
            continue
        for name, cell in cells.items():
            if name != OURS and counts(cell) and cell.ms:
                pairs.setdefault(name, []).append(ours.ms / cell.ms)
    return {name: mean for name, values in pairs.items() if (mean := geometric_mean(values)) is not None}
