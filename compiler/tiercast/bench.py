"""Timing packages and single kernel rows on this machine."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tiercast.errors import TiercastError, UsageError
from tiercast.inputs import random_inputs
from tiercast.kernel import Case, KernelFamily, Row, families
from tiercast.lower.case import case_model
from tiercast.lower.lowering import lower_graph
from tiercast.lower.memory_map import dense_bytes
from tiercast.lower.plan import Plan
from tiercast.package.file import read_package, write_package
from tiercast.pipeline import resolve
from tiercast.session import Session
from tiercast.target import Target

_WARM_UP_RUNS = 2


@dataclass(frozen=True)
class StepTime:
    """One step's median time.

    `gflops` counts a multiply-accumulate as two operations and is None without any.
    """

    index: int
    name: str
    kernel: str
    macs: int
    median_us: float
    gflops: float | None


@dataclass(frozen=True)
class PackageTime:
    """A package's times over `runs` runs: CPU time of the process and wall time, without the first runs."""

    package: str
    threads: int
    runs: int
    cpu_min_ms: float
    cpu_median_ms: float
    wall_min_ms: float
    wall_median_ms: float
    macs: int
    steps: tuple[StepTime, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class RowTime:
    """A kernel row on one `[[bench]]` case.

    `speedup` is over the portable row; `refused` says why the row did not run.
    """

    case: str
    row: str
    median_us: float = 0.0
    gflops: float | None = None
    gbytes_per_s: float = 0.0
    speedup: float | None = None
    refused: str = ""


def time_packages(
    packages: Sequence[Path], threads: int = 1, seconds: float = 2.0, seed: int = 0, least_runs: int = 5
) -> list[PackageTime]:
    """Times packages run by run in turn, so that a slow moment of the machine meets all of them.

    seconds: wall time spent on each package. Raises PackageError for one that this machine can't run.
    """
    benches = [_PackageBench(path, threads, seed) for path in packages]
    ends = time.perf_counter() + seconds * len(benches)
    for bench in benches:
        bench.warm_up()
    while time.perf_counter() < ends or benches[0].runs < least_runs:
        for bench in benches:
            bench.run_once()
    return [bench.result() for bench in benches]


class _PackageBench:
    def __init__(self, path: Path, threads: int, seed: int) -> None:
        self._path, self._threads = path, threads
        self._plan = read_package(path)
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
                    _gflops(planned.macs, median_us),
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
        )


def time_kernels(
    op: str | None = None,
    isa: str | None = None,
    say: Callable[[str], None] | None = None,
    seconds: float = 0.3,
) -> Iterator[RowTime]:
    """Times each row that this machine has on each `[[bench]]` case of its family, as a package of one step.

    op: only this family (a folder of kernels/); isa: only rows of this instruction set, and portable ones to
    compare with.
    seconds: wall time for each row and case. Raises UsageError for an unknown op or isa.
    """
    host = resolve("host")
    known = families()
    if op is not None and op not in known:
        raise UsageError(f"kernel family {op!r} is unknown; families: {', '.join(known)}")
    if isa is not None and isa not in host.isas:
        raise UsageError(f"instruction set {isa!r} is not this machine's; it has {', '.join(host.isas)}")
    for family in known.values():
        for case in family.benches if op in (None, family.name) else ():
            if say:
                say(f"{family.name}: {case_text(case)}")
            yield from _time_case(family, case, host, isa, seconds)


def case_text(case: Case) -> str:
    """A case in one line: its operands and attributes."""
    attributes = " ".join(f"{name}={value}" for name, value in case.attributes.items())
    return f"{case.op}({', '.join(case.inputs)}){' ' if attributes else ''}{attributes}"


def _time_case(
    family: KernelFamily, case: Case, host: Target, isa: str | None, seconds: float
) -> Iterator[RowTime]:
    rows = [
        row for row in family.rows if row.needs <= host.has and (isa is None or row.isa in (isa, "portable"))
    ]
    found: list[RowTime] = []
    for row in rows:
        timed = _time_row(row, case, host, seconds)
        if timed is not None:
            found.append(timed)
    slow = next(
        (item.median_us for item in reversed(found) if "_portable" in item.row and not item.refused), None
    )
    for item in found:
        speedup = slow / item.median_us if slow is not None and not item.refused else None
        yield RowTime(**{**asdict(item), "speedup": speedup})


def _time_row(row: Row, case: Case, host: Target, seconds: float) -> RowTime | None:
    """None when the case does not use the row's op at all (another dtype)."""
    model, arrays = case_model(case)
    try:
        plan = lower_graph(model, host, prefer=row.name)
    except TiercastError as error:
        return RowTime(case_text(case), row.name, refused=str(error))
    mine = [index for index, step in enumerate(plan.steps) if step.kernel == row.name]
    if not mine:
        return None
    median_us = _median_us(plan, arrays, mine, row.name, seconds)
    touched = sum(
        dense_bytes(plan.tensors[item])
        for index in mine
        for item in (*plan.steps[index].inputs, *plan.steps[index].outputs)
        if item >= 0
    )
    macs = sum(plan.steps[index].macs for index in mine)
    return RowTime(case_text(case), row.name, median_us, _gflops(macs, median_us), touched / median_us / 1e3)


def _median_us(
    plan: Plan, arrays: Mapping[str, np.ndarray], steps: Sequence[int], row: str, seconds: float
) -> float:
    with tempfile.TemporaryDirectory(prefix="tiercast-bench-") as folder:
        session = Session(write_package(plan, Path(folder) / "case.tcpkg"))
        bound = session.steps[steps[0]]["kernel"]
        if bound != row:
            raise UsageError(f"{row} is not in the built library, {bound} was bound; build the project again")
        times_us: list[float] = []
        ends = time.perf_counter() + seconds
        while time.perf_counter() < ends or len(times_us) < 2:
            step_us = session.run_timed(arrays)[1]
            times_us.append(sum(step_us[index] for index in steps))
        return statistics.median(times_us[1:])  # the first met cold caches


def _gflops(macs: int, time_us: float) -> float | None:
    return 2 * macs / time_us / 1e3 if macs and time_us else None
