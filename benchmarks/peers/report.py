"""The comparison as Rich tables and as one HTML page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
from rich.table import Table

from .engines import OURS
from .score import MAX_ERROR

Document = dict[str, Any]


def line(model: str, row: Document) -> str:
    """One model's times, fastest first, as progress."""
    ran = sorted((cell["ms"], name) for name, cell in row["engines"].items() if cell["ms"])
    failed = [name for name, cell in row["engines"].items() if cell["failed"]]
    times = "  ".join(f"{name} {ms:.2f}" for ms, name in ran)
    return f"{model:20s} {times}" + (f"  failed: {', '.join(failed)}" if failed else "")


def verdict(document: Document) -> str:
    """The headline sentence."""
    ratio, counted, total = (
        document["geometric_mean_ratio"],
        document["models_counted"],
        len(document["models"]),
    )
    if ratio is None:
        return "no model was run by both Tiercast and a peer"
    return f"geometric mean of Tiercast / best peer: {ratio:.2f}x over {counted} of {total} models"


def tables(document: Document) -> list[Table]:
    """Times with best and ratio; errors; load, memory and size; failures with their reasons."""
    kind = "CPU" if document["threads"] == 1 else "wall"
    title = f"ms per run, f32, {document['threads']} thread(s), {kind} time, minimum over visits"
    return [
        _table(document, title, _time, best_peer=_best_peer, ours_over_best=_ratio),
        _table(document, "max relative error vs PyTorch", lambda cell: f"{cell['error']:.0e}"),
        _table(
            document, "load + first run, ms", lambda cell: f"{cell['load_ms']:.0f}+{cell['first_ms']:.0f}"
        ),
        _table(
            document,
            "peak memory over the imported engine, MiB",
            lambda cell: f"{cell['peak_growth_mb']:.0f}",
        ),
        _table(document, "model size, KiB", lambda cell: f"{cell['file_bytes'] / 1024:.0f}"),
        _failures(document),
    ]


def page(document: Document) -> str:
    """The HTML page: bars per model, then every figure."""
    template = Path(__file__).with_name("report.html.j2").read_text()
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(template).render(
        document=document,
        engines=_engines(document),
        ours=OURS,
        verdict=verdict(document),
        max_error=MAX_ERROR,
    )


def _engines(document: Document) -> list[str]:
    return list(next(iter(document["models"].values()))["engines"])


def _table(
    document: Document, title: str, show: Callable[[Document], str], **more: Callable[[Document], str]
) -> Table:
    table = Table("model", title=title)
    for heading in [*_engines(document), *more]:
        table.add_column(heading.replace("_", " "), justify="right")
    for model, row in document["models"].items():
        cells = [show(cell) if cell["ms"] else "failed" for cell in row["engines"].values()]
        table.add_row(model, *cells, *[column(row) for column in more.values()])
    return table


def _time(cell: Document) -> str:
    return f"{cell['ms']:.2f}" + ("" if cell["error"] <= MAX_ERROR else " wrong")


def _best_peer(row: Document) -> str:
    return row["best_peer"] or "-"


def _ratio(row: Document) -> str:
    return f"{row['ratio']:.2f}" if row["ratio"] else "-"


def _failures(document: Document) -> Table:
    table = Table("model", "engine", "reason", title="what failed")
    for model, row in document["models"].items():
        for name, cell in row["engines"].items():
            if cell["failed"]:
                table.add_row(model, name, cell["failed"])
    return table
