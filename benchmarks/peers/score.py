"""Who counts, who is best, and by how much ours is behind."""

from __future__ import annotations

import math
from typing import Any

from .drive import Cell
from .engines import OURS

MAX_ERROR = 1e-3
"""An engine whose result is further than this (relative) from PyTorch's does not count, however fast."""


def counts(cell: Cell) -> bool:
    """True where the engine ran and answered right."""
    return not cell.failed and cell.ms is not None and cell.error is not None and cell.error <= MAX_ERROR


def score(cells: dict[str, Cell]) -> dict[str, Any]:
    """The best counting peer and ours/best (None where either is missing)."""
    peers = {name: cell.ms for name, cell in cells.items() if name != OURS and counts(cell) and cell.ms}
    best = min(peers, key=lambda name: peers[name], default=None)
    ours = cells.get(OURS)
    ratio = ours.ms / peers[best] if best and ours and counts(ours) and ours.ms else None
    return {"best_peer": best, "best_ms": peers[best] if best else None, "ratio": ratio}


def geometric_mean_ratio(rows: dict[str, Any]) -> tuple[float | None, int]:
    """Over the models where ours and a peer count: (geometric mean of ours/best, how many)."""
    ratios = [row["ratio"] for row in rows.values() if row["ratio"]]
    if not ratios:
        return None, 0
    return math.exp(sum(map(math.log, ratios)) / len(ratios)), len(ratios)
