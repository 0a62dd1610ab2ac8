"""`tiercast bench --peers MODEL`: the model beside the other engines that are installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from tiercast.cli.output import emit, progress
from tiercast.errors import UsageError


def run(
    what: Sequence[str],
    threads: int,
    seconds: float | None,
    python: Path | None,
    engines: str | None,
    inputs: Path | None,
    shapes: Mapping[str, Sequence[int]],
    html: Path | None,
    json: bool,
) -> None:
    """Compares and prints. UsageError for anything but one model, and where no other engine is installed."""
    from tiercast.peers import report
    from tiercast.peers.compare import compare, pick_engines, subject_of
    from tiercast.peers.drive import Effort
    from tiercast.peers.engines import NAMES
    from tiercast.peers.environment import Environment

    if len(what) != 1:
        raise UsageError(f"--peers takes one model, got {' '.join(what)}")
    environment = Environment(python)
    names, missing = pick_engines(engines.split(",") if engines else NAMES, environment)
    if missing:
        Console(stderr=True, highlight=False).print(missing, markup=False)
    effort = Effort() if seconds is None else Effort(visit_s=seconds)
    with progress(f"reading {what[0]}") as say, subject_of(what[0], shapes, inputs) as subject:
        document = compare([subject], names, sorted({1, threads}), effort, environment, say)
    document["missing"] = missing
    if html:
        html.write_text(report.page(document))
    emit(document, json, lambda console: _show(console, report.tables(document), report.verdict(document)))


def _show(console: Console, tables: Sequence[object], sentences: Sequence[str]) -> None:
    for drawn in tables:
        console.print(drawn)
    for sentence in sentences:
        console.print(sentence, markup=False)
