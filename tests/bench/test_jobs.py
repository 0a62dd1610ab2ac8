"""What is measured: each row on each case of its family, pinned so that no better row takes its place."""

from __future__ import annotations

import pytest

from tiercast.bench.jobs import kernel_jobs
from tiercast.bench.timed import time_kernels
from tiercast.errors import UsageError
from tiercast.kernel import families
from tiercast.target import find_target

ARM = find_target("linux-arm64")


def test_every_case_meets_every_row_of_its_dtype() -> None:
    jobs = list(kernel_jobs(ARM, "softmax", lambda row: True, pinned=True))
    family = families()["softmax"]
    assert {job.row.isa for job in jobs} == {"neon", "portable"}
    assert len({job.case for job in jobs}) == len(family.benches)
    assert all(job.plan and job.steps and job.touched_bytes for job in jobs)


def test_a_pinned_plan_asks_for_its_row_and_hopes_for_no_better() -> None:
    plain = [row for row in families()["conv2d"].rows if row.isa == "neon" and row.needs == {"neon"}]
    jobs = list(kernel_jobs(ARM, "conv2d", lambda row: row in plain, pinned=True))
    assert jobs
    for job in jobs:
        if job.plan:
            assert all(not job.plan.steps[index].better for index in job.steps)


def test_an_unknown_family_or_instruction_set() -> None:
    with pytest.raises(UsageError, match="families: "):
        list(kernel_jobs(ARM, "convolution", lambda row: True))
    with pytest.raises(UsageError, match="not this machine's"):
        list(time_kernels(isa="neon"))
