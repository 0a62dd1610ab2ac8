"""What there is to measure: each kernel row of a target on each `[[bench]]` case of its family."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tiercast.errors import TiercastError, UsageError
from tiercast.kernel import Case, KernelFamily, Row, families
from tiercast.lower.case import case_model
from tiercast.lower.lowering import lower_graph
from tiercast.lower.memory_map import dense_bytes
from tiercast.lower.plan import Plan
from tiercast.target import Target


@dataclass(frozen=True)
class Job:
    """A row on a case. `refused` says why the row can't do it; then there is no plan.

    steps: indices of the plan's steps that are the row's; macs and touched_bytes (operands) are theirs.
    """

    case: str
    row: Row
    refused: str = ""
    plan: Plan | None = None
    arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict, hash=False)
    steps: tuple[int, ...] = ()
    macs: int = 0
    touched_bytes: int = 0


def kernel_jobs(
    target: Target, op: str | None, wanted: Callable[[Row], bool], pinned: bool = False
) -> Iterator[Job]:
    """The jobs of a target, case by case, rows in order of merit.

    op: only this family (a folder of kernels/). wanted: which rows. pinned: lower each for a device that
    has just what the row needs, so that no row of more merit may be bound in its place.
    UsageError for an unknown op.
    """
    known = families()
    if op is not None and op not in known:
        raise UsageError(f"kernel family {op!r} is unknown; families: {', '.join(known)}")
    for family in known.values():
        rows = [row for row in family.rows if row.isa in target.isas and wanted(row)]
        for case in family.benches if op in (None, family.name) else ():
            for row in rows:
                device = dataclasses.replace(target, has=row.needs) if pinned else target
                job = _job(family, case, row, device)
                if job is not None:
                    yield job


def case_text(case: Case) -> str:
    """A case in one line: its operands and attributes."""
    attributes = " ".join(f"{name}={value}" for name, value in case.attributes.items())
    return f"{case.op}({', '.join(case.inputs)}){' ' if attributes else ''}{attributes}"


def _job(family: KernelFamily, case: Case, row: Row, device: Target) -> Job | None:
    """None when the case does not use the row's op at all (another dtype)."""
    model, arrays = case_model(case)
    try:
        plan = lower_graph(model, device, prefer=row.name)
    except TiercastError as error:
        return Job(case_text(case), row, refused=str(error))
    mine = tuple(index for index, step in enumerate(plan.steps) if step.kernel == row.name)
    if not mine:
        return None
    touched = sum(
        dense_bytes(plan.tensors[item])
        for index in mine
        for item in (*plan.steps[index].inputs, *plan.steps[index].outputs)
        if item >= 0
    )
    macs = sum(plan.steps[index].macs for index in mine)
    return Job(case_text(case), row, "", plan, arrays, mine, macs, touched)
