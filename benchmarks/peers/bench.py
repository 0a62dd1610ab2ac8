"""Ours beside the peers on the reference models, in one interleaved run: `make bench-peers`.

Writes `build/bench/peers.json` and `build/bench/peers.html`, and prints the tables.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.int8 import Runner, show_steps
from benchmarks.models import int8_subject, zoo
from benchmarks.models.export_onnx import REPOSITORY
from benchmarks.models.reference import subject
from tiercast.errors import TiercastError
from tiercast.peers import report
from tiercast.peers.compare import compare, pick_engines, write_json
from tiercast.peers.drive import Effort
from tiercast.peers.engines import NAMES, OURS, engine
from tiercast.peers.environment import Environment
from tiercast.peers.subject import Subject

OUTPUT = REPOSITORY / "build" / "bench"
AHEAD = 1.1  # how many times as fast as the best int8 peer ours is to be
PEERS = REPOSITORY / ".venv-peers" / "bin" / "python"


def main(
    models: Annotated[str, typer.Option(help="comma-separated; all without")] = "",
    engines: Annotated[str, typer.Option(help="comma-separated")] = ",".join(NAMES),
    threads: Annotated[str, typer.Option(help="thread counts, comma-separated")] = "1,2",
    rounds: Annotated[int, typer.Option(min=1, help="visits per engine and thread count")] = Effort.rounds,
    visit_s: Annotated[float, typer.Option(help="seconds per visit")] = Effort.visit_s,
    output: Annotated[Path, typer.Option(help="folder of peers.json and peers.html")] = OUTPUT,
    int8: Annotated[bool, typer.Option(help="quantized; files are peers-int8.*")] = False,
    max_ratio: Annotated[
        float | None, typer.Option(help="exit 1 if a thread count's geometric mean of ours/best is above")
    ] = None,
) -> None:
    """Times every engine on every reference model and says how far ours is from the best peer."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no stopped worker stays behind
    console = Console(width=None if sys.stdout.isatty() else 150)
    environment = Environment(PEERS)
    names, missing = pick_engines(engines.split(","), environment)
    if missing:
        raise TiercastError(f"{missing}; or run benchmarks/peers/setup.sh")
    make, known = (int8_subject.int8_subject, int8_subject.MODELS) if int8 else (subject, zoo.names())
    subjects = [make(name) for name in (models.split(",") if models else known)]
    document = compare(
        subjects,
        names,
        [int(count) for count in threads.split(",")],
        Effort(rounds=rounds, visit_s=visit_s),
        environment,
        done=lambda model, rows: console.print(report.line(model, rows)),
    )
    stem = "peers-int8" if int8 else "peers"
    write_json(document, output / f"{stem}.json")
    (output / f"{stem}.html").write_text(report.page(document))
    for table in report.tables(document):
        console.print(table)
    for text in report.verdict(document):
        console.print(text)
    if int8:
        _show_our_steps(console, document, subjects)
    for section in document["sections"]:
        facts = section["summary"]
        incomplete = facts["models_counted"] < facts["models"]
        if max_ratio is not None and (incomplete or facts["geometric_mean_ratio"] > max_ratio):
            raise typer.Exit(1)


def _show_our_steps(console: Console, document: Mapping[str, Any], subjects: Sequence[Subject]) -> None:
    """Our slowest steps on the models where we are not the faster by `AHEAD`."""
    rows = document["sections"][0]["models"]
    for behind in subjects:
        ratio = rows[behind.name]["ratio"]
        if ratio and ratio > 1 / AHEAD:
            console.print(f"{behind.name}: {1 / ratio:.2f} times as fast as {rows[behind.name]['best_peer']}")
            show_steps(console, [Runner(behind.engine_folder(OURS) / engine(OURS).FILES[0])], limit=10)


if __name__ == "__main__":
    typer.run(main)
