"""AArch64 kernel rows by what they execute: instructions under qemu, cycles by pipeline models of cores."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiercast.bench.cores import Core, Cycles, core_cycles
from tiercast.bench.jobs import Job, kernel_jobs
from tiercast.counting import TARGET, Region, count_package
from tiercast.errors import UsageError
from tiercast.kernel import Row, rows_of
from tiercast.package.file import write_package
from tiercast.rig import tool
from tiercast.target import find_target


@dataclass(frozen=True)
class RowCount:
    """A kernel row on one `[[bench]]` case: executed instructions of one run, one thread; exact.

    per_mac: instructions per planned multiply-accumulate, None without any. fma_share: 0 to 1.
    cycles: core name -> what its pipeline model makes of it. refused: why the row did not run.
    """

    case: str
    row: str
    instructions: int = 0
    macs: int = 0
    per_mac: float | None = None
    fma_share: float = 0.0
    cycles: Mapping[str, Cycles] = field(default_factory=dict, hash=False)
    refused: str = ""


def count_kernels(
    op: str | None = None,
    isa: str | None = None,
    cores: Sequence[Core] = (),
    say: Callable[[str], None] = lambda _: None,
) -> list[RowCount]:
    """Counts each AArch64 row on each `[[bench]]` case, as many at once as this machine has cores.

    op, isa: as `time_kernels`. Portable rows are left out where the op has others, unless isa asks for them:
    they are slow, and no phone runs them. Raises UsageError for an unknown op or isa, ToolchainError where
    the cross compiler, qemu or (with cores) LLVM's tools are missing.
    """
    target = find_target(TARGET)
    if isa is not None and isa not in target.isas:
        raise UsageError(f"instruction set {isa!r} is not of {TARGET}; it has {', '.join(target.isas)}")
    say("building the kernels")
    tool(TARGET)
    jobs = kernel_jobs(target, op, lambda row: row.isa == isa if isa else _worth_counting(row), pinned=True)

    def count(job: Job) -> RowCount:
        say(f"{job.row.name}: {job.case}")
        return _count(job, cores)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(count, jobs))


def facts(row: RowCount) -> dict[str, Any]:
    """For JSON."""
    return {**vars(row), "cycles": {name: vars(cycles) for name, cycles in row.cycles.items()}}


def _worth_counting(row: Row) -> bool:
    return row.isa != "portable" or not any(other.isa == "neon" for other in rows_of(row.op))


def _count(job: Job, cores: Sequence[Core]) -> RowCount:
    if job.plan is None:
        return RowCount(job.case, job.row.name, refused=job.refused)
    with tempfile.TemporaryDirectory(prefix="tiercast-bench-") as folder:
        package = write_package(job.plan, Path(folder) / "case.tcpkg")
        steps, counts = count_package(package, _emulated_cpu(job.row))
    mine = [step for step in steps if step.kernel == job.row.name]
    if len(mine) != len(job.steps):
        raise UsageError(f"{job.row.name}: {', '.join(step.kernel for step in steps)} was bound in its place")
    total = _total(step.counted for step in mine)
    per_mac = total.instructions / job.macs if job.macs else None
    cycles = {core.name: core_cycles(counts, core) for core in cores}
    return RowCount(job.case, job.row.name, total.instructions, job.macs, per_mac, total.fma_share, cycles)


def _total(regions: Iterator[Region]) -> Region:
    classes: dict[str, int] = {}
    macs = 0
    for region in regions:
        macs += region.macs
        for name, count in region.classes.items():
            classes[name] = classes.get(name, 0) + count
    return Region(macs, classes)


def _emulated_cpu(row: Row) -> str:
    """The least of the emulator's CPUs that can run the row, so that none of more merit is bound."""
    if row.needs <= {"neon"}:
        return "cortex-a53"
    return "cortex-a76" if row.needs <= {"neon", "fp16", "dotprod", "ooo"} else "max"
