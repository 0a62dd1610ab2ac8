"""Samples pinned to rows as one `tiercast-run --batch`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.kernels.samples import Sample, model, plan_for, rows_for, samples
from tiercast.kernel import Row, families
from tiercast.package.file import write_package
from tiercast.target import find_target


@dataclass(frozen=True)
class Job:
    """A sample pinned to a row, as a package file."""

    row: Row
    sample: Sample
    package: Path

    @property
    def output(self) -> Path:
        """Folder the batch writes the outputs to."""
        return self.package.with_suffix(".out")


@cache
def jobs(target: str, folder: Path) -> list[Job]:
    """All rows of the target on all samples they take."""
    made: list[Job] = []
    for row in rows_for(find_target(target)):
        for sample in samples(families()[row.folder]):
            plan = plan_for(sample, row, find_target(target))
            if plan is not None:
                made.append(
                    Job(row, sample, write_package(plan, folder / target / f"{row.name}.{sample}.tcpkg"))
                )
    return made


@cache
def input_folder(sample: Sample, folder: Path) -> Path:
    """The sample's inputs as the batch reads them."""
    made = folder / f"{sample}.in"
    made.mkdir()
    for index, array in enumerate(model(sample)[1].values()):
        array.tofile(made / f"{index}.bin")
    return made


def listing(batch: Sequence[Job], folder: Path, path: Path) -> Path:
    """Writes the file that `--batch` reads: a job a line."""
    lines = [f"{job.package} {input_folder(job.sample, folder)} {job.output}\n" for job in batch]
    path.write_text("".join(lines))
    return path
