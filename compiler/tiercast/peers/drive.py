"""Drives the workers, one process per engine and thread count: one at a time awake, in shuffled rounds."""

from __future__ import annotations

import json
import math
import os
import random
import select
import signal
import statistics
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tiercast.peers.convert import Conversion
from tiercast.peers.engines import OURS
from tiercast.peers.environment import Environment, variables
from tiercast.peers.subject import Subject
from tiercast.peers.worker import PEAK

_ANSWER_TIMEOUT_S = 120


@dataclass(frozen=True)
class Effort:
    """How long to measure: starts of each engine in processes of their own, rounds of visits over all
    engines, seconds per visit, calls at least per visit.
    """

    starts: int = 3
    rounds: int = 5
    visit_s: float = 0.25
    min_calls: int = 2


@dataclass
class Cell:
    """One engine on one model with so many threads. `failed` is empty where it ran; ms and MiB.

    ms: the figure that is compared: with one thread CPU time (hardly inflated by neighbours), with more wall
    time; its minimum over the visits. typical_ms: the median of the visits' minima.
    sqnr_db, bound_db: signal-to-noise ratio, and the least that counts (int8) or None (f32: `error` tells).
    cpu_ms: of all threads together. load, first, peak_growth: of the start that took the least CPU time.
    """

    failed: str = ""
    error: float | None = None
    sqnr_db: float | None = None
    bound_db: float | None = None
    ms: float | None = None
    typical_ms: float | None = None
    wall_ms: float | None = None
    cpu_ms: float | None = None
    load_ms: float | None = None
    load_cpu_ms: float | None = None
    first_ms: float | None = None
    first_cpu_ms: float | None = None
    peak_growth_mb: float | None = None
    file_bytes: int = 0
    convert_s: float = 0.0
    visit_ms: list[float] = field(default_factory=list)


class Worker:
    """A worker process that sleeps (SIGSTOP) unless it is visited."""

    def __init__(self, command: Sequence[str], threads: int) -> None:
        cpus = sorted(os.sched_getaffinity(0))[-threads:]
        self._process = subprocess.Popen(
            [*command, str(threads), ",".join(map(str, cpus))], env=variables(threads), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.facts = self._answer()
        self._process.send_signal(signal.SIGSTOP)

    def visit(self, effort: Effort) -> dict[str, Any]:
        """Wakes the worker for one visit; its answer holds `failed` where it died."""
        self._process.send_signal(signal.SIGCONT)
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{effort.visit_s} {effort.min_calls}\n")
            self._process.stdin.flush()
            return self._answer()
        except BrokenPipeError:
            return {"failed": "worker died between visits"}
        finally:
            self._process.send_signal(signal.SIGSTOP)

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], _ANSWER_TIMEOUT_S)
        line = self._process.stdout.readline() if ready else ""
        if line:
            return dict(json.loads(line))
        if not ready:
            return {"failed": f"no answer within {_ANSWER_TIMEOUT_S} s"}
        return {"failed": f"worker died with status {self._process.wait()}"}


@dataclass(frozen=True)
class Measured:
    """One model: its cells by thread count and engine, and the FMA rates in between (GFLOP/s)."""

    cells: dict[int, dict[str, Cell]]
    peaks: list[float]


def _start(subject: Subject, name: str, count: int, environment: Environment) -> Worker:
    runs_in = OURS if name == PEAK else name
    command = environment.command(runs_in, "tiercast.peers.worker", str(subject.folder), name)
    return Worker(command, count)


@contextmanager
def _workers(
    subject: Subject, wanted: Sequence[tuple[int, str]], environment: Environment
) -> Iterator[dict[tuple[int, str], Worker]]:
    workers: dict[tuple[int, str], Worker] = {}
    try:
        for count, name in random.sample(wanted, len(wanted)):
            workers[count, name] = _start(subject, name, count, environment)
        yield workers
    finally:
        for worker in workers.values():
            worker.close()


def measure(
    subject: Subject,
    conversions: Mapping[str, Conversion],
    threads: Sequence[int],
    effort: Effort,
    environment: Environment,
) -> Measured:
    """Every engine on one model with each of the thread counts.

    Engines start several times, in shuffled order: the first to touch memory of a virtual machine pays its
    host for it.
    """
    cells = {count: {name: _empty(done, subject) for name, done in conversions.items()} for count in threads}
    able = [(count, name) for count in threads for name, done in conversions.items() if not done.error]
    peaks: list[float] = []
    for _ in range(effort.starts - 1):
        for count, name in random.sample(able, len(able)):
            worker = _start(subject, name, count, environment)
            _note(cells[count][name], worker.facts)
            worker.close()
    with _workers(subject, [(1, PEAK), *able], environment) as workers:
        for count, name in able:
            _note(cells[count][name], workers[count, name].facts)
        for _ in range(effort.rounds):
            for count, name in random.sample(list(workers), len(workers)):
                if name == PEAK:
                    peaks.append(workers[count, name].visit(effort)["gflops"])
                elif not cells[count][name].failed:
                    _add_visit(cells[count][name], workers[count, name].visit(effort), count)
    for by_engine in cells.values():
        for cell in by_engine.values():
            if cell.visit_ms:
                cell.ms, cell.typical_ms = min(cell.visit_ms), statistics.median(cell.visit_ms)
    return Measured(cells, peaks)


def _empty(done: Conversion, subject: Subject) -> Cell:
    return Cell(
        failed=done.error, file_bytes=done.file_bytes, convert_s=done.seconds, bound_db=subject.bound_db
    )


def _add_visit(cell: Cell, answer: Mapping[str, Any], threads: int) -> None:
    if "failed" in answer:
        cell.failed = answer["failed"]
        return
    wall_ms, cpu_ms = min(answer["wall_ms"]), answer["cpu_ms"]
    cell.wall_ms = min(wall_ms, cell.wall_ms or wall_ms)
    cell.cpu_ms = min(cpu_ms, cell.cpu_ms or cpu_ms)
    cell.visit_ms.append(cpu_ms if threads == 1 else wall_ms)


def _note(cell: Cell, facts: Mapping[str, Any]) -> None:
    if "failed" in facts:
        cell.failed = facts["failed"]
        return
    before = (cell.load_cpu_ms or math.inf) + (cell.first_cpu_ms or math.inf)
    if facts["load_cpu_ms"] + facts["first_cpu_ms"] < before:
        for key, value in facts.items():
            setattr(cell, key, value)
