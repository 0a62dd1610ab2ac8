"""Timing packages on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tiercast.inputs import random_inputs
from tiercast.lower.buckets import inputs_text
from tiercast.lower.plan import Plan
from tiercast.package.file import read_plans
from tiercast.session import Session

_WARM_UP_RUNS = 2


@dataclass(frozen=True)
class StepTime:
    """One step's times: the median and the least.

    `gflops` counts a multiply-accumulate as two operations and is None without any.
    """

    index: int
    name: str
    kernel: str
    macs: int
    median_us: float
    gflops: float | None
    min_us: float = 0.0


@dataclass(frozen=True)
class PackageTime:
    """A package's times over `runs` runs, without the first ones: CPU time of the process and wall time.

    inputs: the input shapes, which tell the bucket.
    """

    package: str
    threads: int
    runs: int
    cpu_min_ms: float
    cpu_median_ms: float
    wall_min_ms: float
    wall_median_ms: float
    macs: int
    steps: tuple[StepTime, ...]
    inputs: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def time_packages(
    packages: Sequence[Path], threads: int = 1, seconds: float = 2.0, seed: int = 0, least_runs: int = 5
) -> list[PackageTime]:
    """Times packages, each shape bucket for itself, in turn, so that a slow moment meets all of them.

    seconds: wall time spent on each bucket. Raises PackageError for one that this machine can't run.
    """
    benches = [_PackageBench(path, plan, threads, seed) for path in packages for plan in read_plans(path)]
    ends = time.perf_counter() + seconds * len(benches)
    for bench in benches:
        bench.warm_up()
    while time.perf_counter() < ends or benches[0].runs < least_runs:
        for bench in benches:
            bench.run_once()
    return [bench.result() for bench in benches]


class _PackageBench:
    def __init__(self, path: Path, plan: Plan, threads: int, seed: int) -> None:
        self._path, self._plan, self._threads = path, plan, threads
        self._session = Session(path, threads)
        self._inputs = random_inputs(self._plan.inputs, seed)
        self._cpu_ms: list[float] = []
        self._wall_ms: list[float] = []
        self._step_us: list[list[float]] = []

    @property
    def runs(self) -> int:
        return len(self._cpu_ms)

    def warm_up(self) -> None:
        for _ in range(_WARM_UP_RUNS):
            self._session.run(self._inputs)

    def run_once(self) -> None:
        cpu, wall = time.process_time_ns(), time.perf_counter_ns()
        self._session.run(self._inputs)
        self._cpu_ms.append((time.process_time_ns() - cpu) / 1e6)
        self._wall_ms.append((time.perf_counter_ns() - wall) / 1e6)
        self._step_us.append(self._session.run_timed(self._inputs)[1])

    def result(self) -> PackageTime:
        steps = []
        for index, (planned, bound, times_us) in enumerate(
            zip(self._plan.steps, self._session.steps, zip(*self._step_us, strict=True), strict=True)
        ):
            median_us = statistics.median(times_us)
            steps.append(
                StepTime(
                    index,
                    planned.name,
                    bound["kernel"],
                    planned.macs,
                    median_us,
                    gflops(planned.macs, median_us),
                    min(times_us),
                )
            )
        return PackageTime(
            str(self._path),
            self._threads,
            self.runs,
            min(self._cpu_ms),
            statistics.median(self._cpu_ms),
            min(self._wall_ms),
            statistics.median(self._wall_ms),
            sum(step.macs for step in self._plan.steps),
            tuple(steps),
            inputs_text(self._plan),
        )


def gflops(macs: int, time_us: float) -> float | None:
    """GFLOP/s of so many multiply-accumulates (two operations each); None without any."""
    return 2 * macs / time_us / 1e3 if macs and time_us else None
