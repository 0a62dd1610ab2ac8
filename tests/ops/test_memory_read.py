"""What a memory read refuses, in the graph and in a package that nobody made with this compiler."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tiercast.errors import GraphError, TiercastError
from tiercast.kernel import Case, families
from tiercast.lower.case import case_model
from tiercast.lower.lowering import lower_graph
from tiercast.package.file import write_package
from tiercast.pipeline import resolve
from tiercast.session import Session

PARAMS = {"trans_queries": 0, "scale": 1.0, "offset_scale": 1.0}


def case(top_k: int) -> Case:
    return Case("MemoryRead", ("1x9x3", "1x3x16", "1x9x9"), {"top_k": top_k})


@pytest.mark.native
@pytest.mark.parametrize("top_k", [-1, 10])
def test_no_more_slots_than_there_are(top_k: int) -> None:
    with pytest.raises(GraphError, match=rf"top_k={top_k} is not in 0\.\.9, the slots"):
        case_model(case(top_k))


@pytest.mark.native
@pytest.mark.parametrize(
    ("top_k", "missing_bytes", "why"),
    [
        (10, 0, "top_k is below 0 or more than there are slots"),
        (-4, 0, "top_k is below 0 or more than there are slots"),
        (2**31 - 1, 0, "top_k is below 0 or more than there are slots"),
        (9, 0, "scratch is too small"),
        (4, 1, "scratch is too small"),
    ],
)
def test_a_package_that_lies_is_refused(tmp_path: Path, top_k: int, missing_bytes: int, why: str) -> None:
    plan = lower_graph(case_model(case(4))[0], resolve("host"))
    (step,) = plan.steps
    params = families()["memory_read"].pack_params(PARAMS | {"top_k": top_k})
    plan.steps = [replace(step, params=params, scratch_bytes=step.scratch_bytes - missing_bytes)]
    package = write_package(plan, tmp_path / "m.tcpkg")
    with pytest.raises(TiercastError, match=why):
        Session(package)
