"""Drives the workers: one process per engine, one of them awake at a time, visited in shuffled rounds."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import statistics
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.models.export_onnx import REPOSITORY

from .convert import Conversion, interpreter

LOAD_TIMEOUT_S = 120


@dataclass(frozen=True)
class Effort:
    """How long to measure: rounds over all engines, seconds per visit, calls at least per visit."""

    rounds: int = 7
    visit_s: float = 0.4
    min_calls: int = 5


@dataclass
class Cell:
    """One engine on one model. `failed` is empty where it ran; times are milliseconds, memory MiB."""

    failed: str = ""
    error: float | None = None
    ms: float | None = None
    typical_ms: float | None = None
    load_ms: float | None = None
    first_ms: float | None = None
    peak_growth_mb: float | None = None
    file_bytes: int = 0
    convert_s: float = 0.0
    visit_ms: list[float] = field(default_factory=list)


class Worker:
    """A worker process that sleeps (SIGSTOP) unless it is visited."""

    def __init__(self, engine: str, model: str, threads: int) -> None:
        cpus = sorted(os.sched_getaffinity(0))[-threads:]
        command = [interpreter(engine), "-m", "benchmarks.peers.worker", engine, model, str(threads)]
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(
            [*command, ",".join(map(str, cpus))], cwd=REPOSITORY, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.facts = self._answer(LOAD_TIMEOUT_S)
        self._process.send_signal(signal.SIGSTOP)

    def visit(self, effort: Effort) -> dict[str, Any]:
        """Wakes the worker for one visit; its answer holds `failed` where it died."""
        self._process.send_signal(signal.SIGCONT)
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{effort.visit_s} {effort.min_calls}\n")
            self._process.stdin.flush()
            return self._answer(LOAD_TIMEOUT_S)
        except BrokenPipeError:
            return {"failed": "worker died between visits"}
        finally:
            self._process.send_signal(signal.SIGSTOP)

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()

    def _answer(self, timeout_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], timeout_s)
        line = self._process.stdout.readline() if ready else ""
        if line:
            return dict(json.loads(line))
        if not ready:
            return {"failed": f"no answer within {timeout_s:.0f} s"}
        return {"failed": f"worker died with status {self._process.wait()}"}


@contextmanager
def _workers(engines: list[str], model: str, threads: int) -> Iterator[dict[str, Worker]]:
    workers: dict[str, Worker] = {}
    try:
        for name in engines:
            workers[name] = Worker(name, model, threads)
        yield workers
    finally:
        for worker in workers.values():
            worker.close()


def measure(model: str, conversions: dict[str, Conversion], threads: int, effort: Effort) -> dict[str, Cell]:
    """Every engine on one model. One thread: process CPU time, hardly inflated by neighbours; more: wall."""
    cells = {
        name: Cell(failed=done.error, file_bytes=done.file_bytes, convert_s=done.seconds)
        for name, done in conversions.items()
    }
    clock = "cpu_ns" if threads == 1 else "wall_ns"
    with _workers([name for name, cell in cells.items() if not cell.failed], model, threads) as workers:
        for name, worker in workers.items():
            _note(cells[name], worker.facts)
        for _ in range(effort.rounds):
            for name in random.sample(list(workers), len(workers)):
                if cells[name].failed:
                    continue
                answer = workers[name].visit(effort)
                _note(cells[name], {key: answer[key] for key in ("failed",) if key in answer})
                if clock in answer:
                    cells[name].visit_ms.append(min(answer[clock]) / 1e6)
    for cell in cells.values():
        if cell.visit_ms:
            cell.ms, cell.typical_ms = min(cell.visit_ms), statistics.median(cell.visit_ms)
    return cells


def _note(cell: Cell, facts: dict[str, Any]) -> None:
    for key, value in facts.items():
        setattr(cell, key, value)
