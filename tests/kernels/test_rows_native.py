"""Every row this machine's architecture has, on every sample, against `portable`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.kernels.samples import check, compare, expected, model, plan_for, rows_for, samples
from tiercast import Session
from tiercast.kernel import Row, families
from tiercast.lower.case import case_model
from tiercast.lower.lowering import lower_graph
from tiercast.package.file import write_package
from tiercast.target import find_target

pytestmark = pytest.mark.native
ROWS = rows_for(find_target("host"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rows")


def cpu() -> frozenset[str]:
    from tiercast import _native

    return frozenset(_native.cpu_features())


def skip_if_missing(row: Row) -> None:
    missing = row.needs - cpu()
    if missing:
        pytest.skip(f"this CPU lacks {', '.join(sorted(missing))}")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row_agrees_with_portable_on_every_sample(row: Row, folder: Path) -> None:
    skip_if_missing(row)
    reached, wrong = 0, []
    for sample in samples(families()[row.folder]):
        plan = plan_for(sample, row, find_target("host"))
        if plan is None:
            continue
        reached += 1
        package = write_package(plan, folder / f"{sample}.tcpkg")
        inputs = model(sample)[1]
        session = Session(package)
        bound = [step["kernel"] for step in (*session.prepare_steps, *session.steps)]
        assert row.name in bound, f"{sample}: {row.name} was not bound"
        wrong.append(check(sample, list(session.run(inputs).values()), expected(sample, folder)))
    assert reached, f"no sample of kernels/{row.folder}/kernels.toml reaches {row.name}; add one"
    assert not any(wrong), "\n".join(line for line in wrong if line)


@pytest.mark.parametrize("row", [row for row in ROWS if row.needs], ids=lambda row: row.name)
def test_a_package_pinned_to_a_row_the_cpu_lacks_binds_another(row: Row, folder: Path) -> None:
    # Params and packed weights are still the pinned row's: whoever steps in must read them.
    skip_if_missing(row)
    wrong = []
    for sample in samples(families()[row.folder]):
        plan = plan_for(sample, row, find_target("host"))
        if plan is None:
            continue
        package = write_package(plan, folder / f"{sample}.tcpkg")
        for features in ([], sorted(cpu() - row.needs)):
            session = Session(package, features=features)
            pinned = [step for step in session.steps if step["chosen"] == row.name]
            assert pinned and all(step["kernel"] != row.name for step in pinned)
            wrong.append(
                check(sample, list(session.run(model(sample)[1]).values()), expected(sample, folder))
            )
    assert not any(wrong), "\n".join(line for line in wrong if line)


@pytest.mark.slow
@pytest.mark.parametrize("row", [row for row in ROWS if row.needs], ids=lambda row: row.name)
def test_threads_change_nothing(row: Row, folder: Path) -> None:
    # The bench shapes: big enough to be shared between threads.
    skip_if_missing(row)
    device = dataclasses.replace(find_target("host"), has=row.needs)
    for number, case in enumerate(families()[row.folder].benches[:3]):
        made, inputs = case_model(case)
        package = write_package(lower_graph(made, device), folder / f"{row.name}-bench{number}.tcpkg")
        alone, shared = Session(package).run(inputs), Session(package, threads=3).run(inputs)
        for name, array in alone.items():
            assert compare(shared[name], array) is None
            assert np.array_equal(shared[name], array, equal_nan=array.dtype.kind == "f")
