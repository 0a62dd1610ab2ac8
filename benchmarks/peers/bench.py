"""Ours beside the peers, in one interleaved run: `make bench-peers` or `python -m benchmarks.peers.bench`.

Writes `build/bench/peers.json` and `build/bench/peers.html`, and prints the tables.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.models import zoo
from benchmarks.models.export_onnx import REPOSITORY
from benchmarks.models.reference import write_reference

from . import report
from .convert import ensure, pins
from .drive import Effort, measure
from .engines import NAMES
from .score import geometric_mean_ratio, score

OUTPUT = REPOSITORY / "build" / "bench"


def machine() -> dict[str, Any]:
    """What the figures depend on: processor, cores, load, when, pinned versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    return {
        "cpu": cpu, "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1),
        "date": time.strftime("%Y-%m-%d %H:%M"), "pins": pins(),
    }  # fmt: skip


def run(
    models: list[str], engines: list[str], threads: int, effort: Effort, console: Console
) -> dict[str, Any]:
    """Converts what is stale (one at a time), then measures model by model; returns the JSON document."""
    rows: dict[str, Any] = {}
    begun = machine()
    for model in models:
        write_reference(model)
        conversions = {name: ensure(model, name) for name in engines}
        cells = measure(model, conversions, threads, effort)
        rows[model] = {
            "mmacs": zoo.macs(model) / 1e6,
            "engines": {name: asdict(cell) for name, cell in cells.items()},
        }
        rows[model] |= score(cells)
        console.print(report.line(model, rows[model]))
    ratio, counted = geometric_mean_ratio(rows)
    return {
        "machine": begun, "threads": threads, "effort": asdict(effort), "models": rows,
        "geometric_mean_ratio": ratio, "models_counted": counted,
    }  # fmt: skip


def main(
    models: Annotated[str, typer.Option(help="comma-separated; all without")] = "",
    engines: Annotated[str, typer.Option(help="comma-separated")] = ",".join(NAMES),
    threads: Annotated[int, typer.Option(min=1)] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="visits per engine")] = 7,
    visit_s: Annotated[float, typer.Option(help="seconds per visit")] = 0.4,
    max_ratio: Annotated[
        float | None, typer.Option(help="exit 1 if the geometric mean of ours/best is above")
    ] = None,
) -> None:
    """Times every engine on every reference model and says how far ours is from the best peer."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no stopped worker stays behind
    console = Console(width=None if sys.stdout.isatty() else 130)
    chosen = models.split(",") if models else zoo.names()
    document = run(chosen, engines.split(","), threads, Effort(rounds, visit_s), console)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    suffix = "" if threads == 1 else f"-{threads}threads"
    (OUTPUT / f"peers{suffix}.json").write_text(json.dumps(document, indent=1))
    (OUTPUT / f"peers{suffix}.html").write_text(report.page(document))
    for table in report.tables(document):
        console.print(table)
    console.print(report.verdict(document))
    ratio = document["geometric_mean_ratio"]
    if max_ratio is not None and (
        ratio is None or ratio > max_ratio or document["models_counted"] < len(chosen)
    ):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
