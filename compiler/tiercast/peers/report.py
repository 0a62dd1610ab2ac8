"""The comparison as Rich tables and as one HTML page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
from rich.table import Table

from tiercast.peers import drive
from tiercast.peers.engines import OURS
from tiercast.peers.score import MAX_ERROR, is_right

Document = Mapping[str, Any]
Cell = Mapping[str, Any]

# What the page draws beside times: title, unit, which entry of a row names the best peer, a cell's figure.
_OTHER_FIGURES: tuple[tuple[str, str, str | None, Callable[[Cell], float]], ...] = (
    (
        "Load + first run in a cold process, CPU ms", "ms", "quickest_start",
        lambda cell: float(cell["load_cpu_ms"] + cell["first_cpu_ms"]),
    ),
    (
        "Load + first run in a cold process, wall ms", "ms", None,
        lambda cell: float(cell["load_ms"] + cell["first_ms"]),
    ),
    (
        "Peak memory over the imported engine", "MiB", "leanest_peer",
        lambda cell: float(cell["peak_growth_mb"]),
    ),
    ("Model files", "KiB", None, lambda cell: cell["file_bytes"] / 1024),
)  # fmt: skip


def line(model: str, rows: Mapping[int, Document]) -> str:
    """One model's times, fastest first, as progress: a line for each thread count."""
    return "\n".join(_line(f"{model} x{threads}", row) for threads, row in rows.items())


def verdict(document: Document) -> list[str]:
    """The headlines: one for each thread count, then threads and the machine."""
    lines = [_section_verdict(section) for section in document["sections"]]
    means = document["efficiency"]["means"]
    if means:
        several = ", ".join(f"{name} {mean:.2f}" for name, mean in means.items())
        lines.append(
            f"{document['efficiency']['threads']} threads over 1, wall time, geometric mean: {several}"
        )
    facts = document["machine"]
    lines.append(
        f"peak {facts['peak_gflops']:.0f} GFLOP/s of one core, measured between the visits; "
        f"load {facts['load']} at the start, {facts['load_at_end']} at the end; "
        f"others used {100 * facts['neighbours']:.0f} % of the machine during the {facts['seconds']:.0f} s"
    )
    return lines


def tables(document: Document) -> list[Table]:
    """For each thread count times and % of peak; then errors, start, memory, size, efficiency, failures."""
    made = [
        table for section in document["sections"] for table in _time_tables(section, document["precision"])
    ]
    first = document["sections"][0]
    made += [
        _errors(first, document["precision"]),
        _cells(first, "load + first run, CPU ms, cold process", _start, ours_over_best=_text("start_ratio")),
        _cells(first, "load + first run, wall ms, cold process", _wall_start),
        _cells(
            first, "peak memory over the imported engine, MiB", lambda cell: f"{cell['peak_growth_mb']:.1f}",
            leanest=_leanest, ours_over_best=_text("memory_ratio"),
        ),
        _cells(first, "model files, KiB", lambda cell: f"{cell['file_bytes'] / 1024:.0f}"),
    ]  # fmt: skip
    if document["efficiency"]["models"]:
        made.append(_efficiency(document["efficiency"], list(_first_row(first)["engines"])))
    return [*made, _failures(document)]


def page(document: Document) -> str:
    """The HTML page: bars per model for every figure, then the numbers."""
    template = Path(__file__).with_name("report.html.j2").read_text()
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(template).render(
        document=document,
        figures={"time": lambda cell: cell["ms"], "others": _OTHER_FIGURES},
        ours=OURS,
        verdict=verdict(document),
        max_error=MAX_ERROR,
        right=_right,
    )


def _line(name: str, row: Document) -> str:
    ran = sorted((cell["ms"], engine) for engine, cell in row["engines"].items() if cell["ms"])
    failed = [engine for engine, cell in row["engines"].items() if cell["failed"]]
    times = "  ".join(f"{engine} {ms:.2f}" for ms, engine in ran)
    return f"{name:22s} {times}" + (f"  failed: {', '.join(failed)}" if failed else "")


def _section_verdict(section: Document) -> str:
    facts = section["summary"]
    threads = f"{section['threads']} thread{'s' if section['threads'] > 1 else ''}"
    if facts["geometric_mean_ratio"] is None:
        return f"{threads}: no model was run by both Tiercast and a peer"
    against = ", ".join(f"{name} {ratio:.2f}" for name, ratio in facts["against"].items())
    start = facts["start_ratio_mean"]
    return (
        f"{threads}: Tiercast / best peer of each model {facts['geometric_mean_ratio']:.3f} "
        f"(geometric mean of {facts['models_counted']} of {facts['models']} models; "
        f"worst {facts['worst_ratio']:.2f}, {facts['slower_than_best']} slower than the best); "
        f"against {against}; "
        f"memory at most the leanest peer's on {facts['leanest_or_leaner']} of {facts['memory_counted']}"
        + (f"; load + first run {start:.2f} of the quickest peer's" if start else "")
    )


def _time_tables(section: Document, precision: str) -> list[Table]:
    threads = section["threads"]
    kind = "CPU" if threads == 1 else "wall"
    title = f"ms per run, {precision}, {threads} thread(s), {kind} time, minimum over visits"
    made = [_cells(section, title, _time, best_peer=_best_peer, ours_over_best=_text("ratio"))]
    if threads > 1:
        made.append(
            _cells(section, f"CPU ms of {threads} threads together", lambda cell: f"{cell['cpu_ms']:.2f}")
        )
    peak = Table("model", title=f"% of the f32 FMA peak of {threads} core(s)")
    engines = list(_first_row(section)["engines"])
    for engine in engines:
        peak.add_column(engine, justify="right")
    for model, row in section["models"].items():
        shares = row["percent_of_peak"]
        peak.add_row(model, *[f"{shares[engine]:.0f}" if engine in shares else "-" for engine in engines])
    return [*made, peak]


def _first_row(section: Document) -> Document:
    row: Document = next(iter(section["models"].values()))
    return row


def _cells(
    section: Document, title: str, show: Callable[[Cell], str], **more: Callable[[Document], str]
) -> Table:
    table = Table("model", title=title)
    for heading in [*_first_row(section)["engines"], *more]:
        table.add_column(heading.replace("_", " "), justify="right")
    for model, row in section["models"].items():
        cells = [show(cell) if cell["ms"] else "failed" for cell in row["engines"].values()]
        table.add_row(model, *cells, *[column(row) for column in more.values()])
    return table


def _errors(section: Document, precision: str) -> Table:
    if precision == "f32":
        title = f"max relative error (bound {MAX_ERROR:g})"
        return _cells(section, title, lambda cell: f"{cell['error']:.0e}")
    return _cells(
        section, "signal-to-noise ratio against f32 PyTorch, dB", lambda cell: f"{cell['sqnr_db']:.1f}",
        at_least=lambda row: f"{next(iter(row['engines'].values()))['bound_db']:.1f}",
    )  # fmt: skip


def _right(cell: Cell) -> bool:
    return is_right(drive.Cell(**cell))


def _time(cell: Cell) -> str:
    return f"{cell['ms']:.{2 if cell['ms'] >= 1 else 3}f}" + ("" if _right(cell) else " wrong")


def _start(cell: Cell) -> str:
    return f"{cell['load_cpu_ms']:.0f}+{cell['first_cpu_ms']:.0f}"


def _wall_start(cell: Cell) -> str:
    return f"{cell['load_ms']:.0f}+{cell['first_ms']:.0f}"


def _best_peer(row: Document) -> str:
    return row["best_peer"] or "-"


def _leanest(row: Document) -> str:
    return row["leanest_peer"] or "-"


def _text(ratio: str) -> Callable[[Document], str]:
    return lambda row: "-" if row[ratio] is None else f"{row[ratio]:.2f}"


def _efficiency(facts: Document, engines: list[str]) -> Table:
    table = Table("model", title=f"speed-up of {facts['threads']} threads over 1 (wall time)")
    for engine in engines:
        table.add_column(engine, justify="right")
    for model, row in facts["models"].items():
        table.add_row(model, *[f"{row[engine]:.2f}" if engine in row else "-" for engine in engines])
    return table


def _failures(document: Document) -> Table:
    table = Table("model", "engine", "threads", "reason", title="what failed")
    for section in document["sections"]:
        for model, row in section["models"].items():
            for name, cell in row["engines"].items():
                if cell["failed"]:
                    table.add_row(model, name, str(section["threads"]), cell["failed"])
    return table
