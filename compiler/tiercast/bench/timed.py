"""Kernel rows of this machine, timed beside the FMA peak that it shows at that moment."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from tiercast import _native
from tiercast.bench.jobs import Job, kernel_jobs
from tiercast.bench.packages import gflops
from tiercast.errors import UsageError
from tiercast.package.file import write_package
from tiercast.pipeline import resolve
from tiercast.session import Session


@dataclass(frozen=True)
class RowTime:
    """A kernel row on one `[[bench]]` case; CPU time of one thread, operands in the caches if they fit.

    min_us, median_us: over batches of runs; the rates are of the minimum. peak_gflops: the machine's,
    measured just before the case. speedup: over the portable row. refused: why the row did not run.
    """

    case: str
    row: str
    min_us: float = 0.0
    median_us: float = 0.0
    gflops: float | None = None
    gbytes_per_s: float = 0.0
    peak_gflops: float = 0.0
    percent_of_peak: float | None = None
    speedup: float | None = None
    refused: str = ""


def time_kernels(
    op: str | None = None,
    isa: str | None = None,
    say: Callable[[str], None] | None = None,
    seconds: float = 0.1,
) -> Iterator[RowTime]:
    """Times each row that this machine has on each `[[bench]]` case of its family.

    op: only this family (a folder of kernels/); isa: only rows of this instruction set, and portable ones to
    compare with. seconds: CPU time for each row and case. Raises UsageError for an unknown op or isa.
    """
    host = resolve("host")
    if isa is not None and isa not in host.isas:
        raise UsageError(f"instruction set {isa!r} is not this machine's; it has {', '.join(host.isas)}")
    jobs = kernel_jobs(
        host, op, lambda row: row.needs <= host.has and (isa is None or row.isa in (isa, "portable"))
    )
    for case, rows in groupby(jobs, lambda job: job.case):
        if say:
            say(case)
        peak = _native.peak_gflops()
        yield from _with_speedups([_time_row(job, seconds, peak) for job in rows])


def _with_speedups(rows: list[RowTime]) -> list[RowTime]:
    slow = next((row.min_us for row in reversed(rows) if "_portable" in row.row and not row.refused), None)
    if slow is None:
        return rows
    return [row if row.refused else replace(row, speedup=slow / row.min_us) for row in rows]


def _time_row(job: Job, seconds: float, peak_gflops: float) -> RowTime:
    if job.plan is None:
        return RowTime(job.case, job.row.name, refused=job.refused)
    with tempfile.TemporaryDirectory(prefix="tiercast-bench-") as folder:
        session = Session(write_package(job.plan, Path(folder) / "case.tcpkg"))
        bound = session.steps[job.steps[0]]["kernel"]
        if bound != job.row.name:
            raise UsageError(
                f"{job.row.name} is not in the built library, {bound} was bound; build the project again"
            )
        times = [session.time_step(job.arrays, step, seconds / len(job.steps)) for step in job.steps]
    min_us, median_us = (sum(column) for column in zip(*times, strict=True))
    rate = gflops(job.macs, min_us)
    share = None if rate is None else 100 * rate / peak_gflops
    return RowTime(
        job.case, job.row.name, min_us, median_us, rate, job.touched_bytes / min_us / 1e3, peak_gflops, share
    )
