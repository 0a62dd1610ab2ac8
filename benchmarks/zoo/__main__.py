"""Converts every net of the zoo, runs it and compares it with its framework: `make zoo`.

Each net has a process of its own, so that its memory, its crash or its hang is its own. Keeps the latest
verdict on each net in `build/bench/zoo.json`; with --write, all of them become `docs/zoo.md`. Exits 1 where a
net of this run is wrong, refused or crashed.
"""

from __future__ import annotations

import fnmatch
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from benchmarks.zoo.judge import Verdict, judge
from benchmarks.zoo.nets import subjects
from benchmarks.zoo.page import page, table

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "build" / "bench" / "zoo.json"
PAGE = REPOSITORY / "docs" / "zoo.md"
LIMIT_S = 900
app = typer.Typer(add_completion=False)


@app.command()
def main(
    only: Annotated[str, typer.Option(help="comma-separated patterns, say 'timm/*,keras/mobilenet*'")] = "*",
    jobs: Annotated[int, typer.Option(help="nets at once")] = 1,
    write: Annotated[bool, typer.Option(help="write docs/zoo.md as well")] = False,
    worker: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Runs the zoo, or one net as its worker."""
    if worker:
        print(json.dumps(asdict(judge(subjects()[worker]))))
        return
    names = [name for name in subjects() if any(fnmatch.fnmatch(name, item) for item in only.split(","))]
    console = Console(stderr=True)
    verdicts: list[Verdict] = []
    with Progress(console=console) as progress, ThreadPoolExecutor(jobs) as pool:
        task = progress.add_task("zoo", total=len(names))
        for verdict in pool.map(run_apart, names):
            verdicts.append(verdict)
            _keep(verdict)
            progress.update(task, advance=1, description=verdict.name)
            if verdict.status != "right":
                console.print(f"{verdict.name}: {verdict.status}: {verdict.text}", markup=False)
    Console().print(table(verdicts))
    if write:
        kept = _kept()
        PAGE.write_text(page([kept[name] for name in subjects() if name in kept]))
    raise typer.Exit(int(any(verdict.status != "right" for verdict in verdicts)))


def _kept() -> dict[str, Verdict]:
    known = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    return {item["name"]: Verdict(**item) for item in known}


def _keep(verdict: Verdict) -> None:
    """At once: a run over everything takes an hour."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    kept = {**_kept(), verdict.name: verdict}
    RESULTS.write_text(json.dumps([asdict(item) for item in kept.values()], indent=1))


def run_apart(name: str) -> Verdict:
    """The verdict of a process of its own; "crashed" with the end of its traceback when it has none."""
    command = [sys.executable, "-m", "benchmarks.zoo", "--worker", name]
    kind = subjects()[name].kind
    try:
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return Verdict(name, kind, "crashed", f"not done after {LIMIT_S} s")
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        return Verdict(name, kind, "crashed", "\n".join(done.stderr.strip().splitlines()[-3:]))
    return Verdict(**json.loads(lines[-1]))


if __name__ == "__main__":
    app()
