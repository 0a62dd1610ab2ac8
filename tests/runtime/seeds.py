"""Packages for the fuzzer to start from: each kernel row on its samples, dense and on windows."""

from __future__ import annotations

from pathlib import Path

from tests.kernels.samples import plan_for, rows_for, samples
from tiercast.kernel import families
from tiercast.package.file import write_package
from tiercast.target import find_target


def write_seeds(folder: Path) -> int:
    """Writes <row>-<sample>.tcpkg for the host's rows into `folder`; returns how many.

    A row takes every third of its family's samples, its neighbours the others.
    """
    target, count = find_target("host"), 0
    for number, row in enumerate(rows_for(target)):
        for sample in samples(families()[row.folder])[number % 3 :: 3]:
            plan = plan_for(sample, row, target)
            if plan is not None:
                write_package(plan, folder / f"{row.name}-{sample}.tcpkg")
                count += 1
    return count
