"""Every ARM row on every sample under the emulator, one process per CPU, against the host's `portable`."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.kernels.batch import Job, jobs, listing
from tests.kernels.samples import check, expected, rows_for
from tiercast.codegen.build import build
from tiercast.kernel import Row, families
from tiercast.lower.case import case_model
from tiercast.lower.lowering import lower_graph
from tiercast.package.file import write_package
from tiercast.rig import bound_kernels, emulator
from tiercast.target import find_target

CPUS = [
    pytest.param(target, cpu, marks=pytest.mark.qemu(target), id=f"{target}-{cpu}")
    for target in ("linux-arm64", "linux-armv7")
    for cpu in find_target(target).emulator_cpus
]
ARM64 = find_target("linux-arm64")
EXTRA = [row for row in rows_for(ARM64) if row.needs - ARM64.has]
MIDDLE = {"neon", "fp16", "dotprod", "ooo"}  # what an A76 has
pytestmark = [pytest.mark.native, pytest.mark.slow]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("emulated")


def run_batch(target: str, cpu: str, batch: list[Job], folder: Path) -> list[str]:
    """Runs all jobs in one process; the lines that say `failed`."""
    path = listing(batch, folder, folder / f"{target}-{cpu}.txt")
    program = build(target) / "tiercast-run"
    command = [*emulator(find_target(target), cpu), str(program), "--batch", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    lines = done.stdout.splitlines()
    assert len(lines) == len(batch), f"exit code {done.returncode} after {lines[-1:]}: {done.stderr[-500:]}"
    return [line for line in lines if not line.startswith("ok ")]


def outputs(job: Job, folder: Path) -> list[np.ndarray]:
    """What the batch wrote, in the shapes the sample has."""
    shapes = [(array.dtype, array.shape) for array in expected(job.sample, folder)]
    results = [np.fromfile(job.output / f"{index}.bin", kind) for index, (kind, _) in enumerate(shapes)]
    return [
        array.reshape(*dims[:-1], -1) if dims else array.reshape(dims)
        for array, (_, dims) in zip(results, shapes, strict=True)
    ]


@pytest.mark.parametrize(("target", "cpu"), CPUS)
def test_every_row_agrees_with_portable_on_every_sample(target: str, cpu: str, folder: Path) -> None:
    batch = jobs(target, folder)
    reached = {job.row for job in batch}
    missing = [row.name for row in rows_for(find_target(target)) if row not in reached]
    assert not missing, f"no sample reaches {', '.join(missing)}"
    wrong: list[str | None] = list(run_batch(target, cpu, batch, folder))
    for job in batch:
        if (job.output / "0.bin").exists():
            difference = check(job.sample, outputs(job, folder), expected(job.sample, folder))
            wrong.append(f"{job.row.name}: {difference}" if difference else None)
    assert not any(wrong), "\n".join(line for line in wrong if line)


@pytest.mark.qemu("linux-arm64")
@pytest.mark.parametrize("row", EXTRA, ids=lambda row: row.name)
def test_dispatch_follows_the_cpu(row: Row, folder: Path) -> None:
    # The package is made for a device that has what the row needs; an A53 has not.
    package = next(job.package for job in jobs("linux-arm64", folder) if job.row == row)
    newest = {step["kernel"] for step in bound_kernels(package, "linux-arm64", "max")}
    oldest = {step["kernel"] for step in bound_kernels(package, "linux-arm64", "cortex-a53")}
    middle = {step["kernel"] for step in bound_kernels(package, "linux-arm64", "cortex-a76")}
    assert row.name in newest and row.name not in oldest
    assert (row.name in middle) == (row.needs <= MIDDLE)


@pytest.mark.qemu("linux-arm64")
@pytest.mark.parametrize("row", EXTRA, ids=lambda row: row.name)
def test_a_package_for_the_least_device_runs_better_rows_where_the_cpu_can(row: Row, folder: Path) -> None:
    model, _ = case_model(families()[row.folder].samples[0], half=row.in_dtype == "f16")
    package = write_package(
        lower_graph(model, find_target("linux-arm64")), folder / f"least-{row.name}.tcpkg"
    )
    cpu = "cortex-a76" if row.needs <= MIDDLE else "max"  # the least that has it: others may have better ones
    assert row.name in {step["kernel"] for step in bound_kernels(package, "linux-arm64", cpu)}
    assert row.name not in {step["kernel"] for step in bound_kernels(package, "linux-arm64", "cortex-a53")}


@pytest.mark.qemu("linux-arm64")
def test_there_are_rows_that_only_newer_cpus_take() -> None:
    if not EXTRA:
        pytest.skip("no AArch64 row needs more than NEON yet")
    assert {row.op for row in EXTRA}
