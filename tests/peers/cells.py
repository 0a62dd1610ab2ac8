"""Made-up results for the arithmetic and the report."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tiercast.peers.drive import Cell, Effort
from tiercast.peers.score import efficiency, score, summary


def ran(ms: float, error: float = 1e-6, memory_mb: float = 3.0, start_ms: float = 10.0) -> Cell:
    """An engine that ran; half of `start_ms` is the load."""
    return Cell(
        error=error, sqnr_db=60.0, ms=ms, typical_ms=ms, wall_ms=ms, cpu_ms=ms, load_ms=start_ms,
        load_cpu_ms=start_ms / 2,
        first_ms=start_ms, first_cpu_ms=start_ms / 2, peak_growth_mb=memory_mb, file_bytes=4096,
    )  # fmt: skip


def document(rows: dict[int, dict[str, dict[str, Cell]]]) -> dict[str, Any]:
    """The document of `compare` for cells by thread count, model and engine."""
    sections = []
    for threads, models in rows.items():
        made = {
            model: {
                "mmacs": 37.0, "peak_gflops": 100.0,
                "engines": {name: asdict(cell) for name, cell in cells.items()},
                "percent_of_peak": {name: 50.0 for name, cell in cells.items() if cell.ms}, **score(cells),
            }
            for model, cells in models.items()
        }  # fmt: skip
        sections.append({"threads": threads, "models": made, "summary": summary(made)})
    most = max(rows)
    gains = (
        {model: efficiency(cells, rows[most][model]) for model, cells in rows[1].items()} if most > 1 else {}
    )
    means = next(iter(gains.values()), {})
    return {
        "precision": "f32",
        "machine": {
            "cpu": "c", "cores": 2, "load": 0.1, "load_at_end": 0.2, "seconds": 3.0, "neighbours": 0.25,
            "date": "d",
            "pins": ["ncnn==1"], "peak_gflops": 100.0,
        },
        "effort": asdict(Effort()), "sections": sections,
        "efficiency": {"threads": most, "models": gains, "means": means},
    }  # fmt: skip
