"""tiercast._native: arrays in and out, taps, times, and what it refuses."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from tests.kernels.samples import Sample, model, plan_for, rows_for
from tiercast.package.file import write_package
from tiercast.target import find_target

pytestmark = pytest.mark.native
native = pytest.importorskip("tiercast._native", reason="tiercast._native is not built: pip install -e .")
PORTABLE = next(row for row in rows_for(find_target("host")) if row.folder == "conv2d" and not row.needs)
SAMPLE = Sample("conv2d", 0)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> str:
    plan = plan_for(SAMPLE, PORTABLE, find_target("host"))
    assert plan is not None
    return str(write_package(plan, tmp_path_factory.mktemp("native") / "conv.tcpkg"))


def arrays(session: native.Session) -> list[np.ndarray]:
    inputs = model(SAMPLE)[1]
    return [inputs[name] for name, _, _ in session.inputs]


def test_runs_the_same_plain_tapped_timed_and_threaded(package: str) -> None:
    session = native.Session(package, features=[])
    inputs = arrays(session)
    (plain,) = session.run(inputs)
    assert np.abs(plain).max() > 0
    (tapped,), taps = session.run_tapped(inputs)
    (timed,), times_us = session.run_timed(inputs)
    assert np.array_equal(plain, tapped) and np.array_equal(plain, timed)
    assert len(taps) == len(times_us) == len(session.steps) and min(times_us) >= 0
    assert np.array_equal(taps[-1][0].ravel(), plain.ravel())
    threaded = native.Session(package, 3, [])
    assert np.array_equal(threaded.run(inputs)[0], plain)


def test_steps_tell_what_was_bound(package: str) -> None:
    (step,) = native.Session(package, features=[]).steps
    assert step["op"] == PORTABLE.op and step["kernel"] == step["chosen"] == PORTABLE.name
    assert {"name", "op", "kernel", "chosen"} == set(step)


def test_kernels_are_listed_with_needs() -> None:
    rows = {name: (op, needs) for name, op, needs in native.kernels()}
    assert rows[PORTABLE.name] == (PORTABLE.op, [])
    assert set(rows) == {row.name for row in rows_for(find_target("host"))}


def misaligned(array: np.ndarray) -> np.ndarray:
    return np.frombuffer(b"x" + array.tobytes(), np.uint8)[1:].view(array.dtype).reshape(array.shape)


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        (lambda a: a.astype(np.float64), "dtype must be f32, got float64"),
        (lambda a: a[..., :-1].copy(), "shape must be"),
        (lambda a: a[None], "shape must be"),
        (lambda a: np.asfortranarray(a), "must be C-contiguous"),
        (lambda a: misaligned(a), "not aligned"),
    ],
)
def test_wrong_arrays_are_refused(package: str, wrong: object, part: str) -> None:
    session = native.Session(package)
    (good,) = arrays(session)
    with pytest.raises(native.NativeError, match=part) as caught:
        session.run([wrong(good)])  # type: ignore[operator]
    assert caught.value.status == "argument"


def test_wrong_counts_options_and_files_are_refused(package: str, tmp_path: Path) -> None:
    session = native.Session(package)
    with pytest.raises(native.NativeError, match="0 inputs given; the package has 1"):
        session.run([])
    with pytest.raises(native.NativeError, match='unknown CPU feature "mmx"'):
        native.Session(package, features=["mmx"])
    with pytest.raises(native.NativeError, match="must be 1 to 64"):
        native.Session(package, threads=65)
    with pytest.raises(native.NativeError, match="cannot be opened") as caught:
        native.check_package(str(tmp_path / "none.tcpkg"))
    assert caught.value.status == "io"
    broken = tmp_path / "broken.tcpkg"
    broken.write_bytes(Path(package).read_bytes()[:-1])
    with pytest.raises(native.NativeError, match="end with the file") as caught:
        native.check_package(str(broken))
    assert caught.value.status == "package"


def test_two_threads_on_one_session_give_right_results_or_a_refusal(package: str) -> None:
    session = native.Session(package)
    inputs = arrays(session)
    (wanted,) = session.run(inputs)
    wrong: list[str] = []

    def work() -> None:
        for _ in range(200):
            try:
                (got,) = session.run(inputs)
            except native.NativeError as error:
                if "another thread" not in str(error):
                    wrong.append(str(error))
            else:
                if not np.array_equal(got, wanted):
                    wrong.append("results differ")

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
