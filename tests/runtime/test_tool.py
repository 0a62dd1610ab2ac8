"""tiercast-run from the outside: files in and out, JSON, batches and exit codes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.kernels.samples import Sample, model, plan_for, rows_for
from tiercast import Session
from tiercast.codegen.build import build
from tiercast.package.file import write_package
from tiercast.target import find_target

pytestmark = pytest.mark.native
PORTABLE = next(row for row in rows_for(find_target("host")) if row.folder == "conv2d" and not row.needs)
SAMPLE = Sample("conv2d", 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tool")


@pytest.fixture(scope="module")
def package(folder: Path) -> Path:
    plan = plan_for(SAMPLE, PORTABLE, find_target("host"))
    assert plan is not None
    return write_package(plan, folder / "conv.tcpkg")


@pytest.fixture(scope="module")
def image(folder: Path) -> Path:
    (array,) = model(SAMPLE)[1].values()
    (folder / "in").mkdir()
    array.tofile(folder / "in" / "0.bin")
    return folder / "in" / "0.bin"


def run(*words: object) -> subprocess.CompletedProcess[str]:
    command = [str(build("host") / "tiercast-run"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def wanted(package: Path) -> np.ndarray:
    (result,) = Session(package, features=[]).run(model(SAMPLE)[1]).values()
    return result.ravel()


def test_writes_outputs_and_taps(package: Path, image: Path, folder: Path) -> None:
    (name,) = model(SAMPLE)[1]
    given = ["--input", f"{name}={image}", "--features", "none"]
    done = run(package, *given, "--output-dir", folder / "out", "--taps", folder / "taps")
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.fromfile(folder / "out" / "0.bin", np.float32), wanted(package))
    assert np.array_equal(np.fromfile(folder / "taps" / "0_0.bin", np.float32), wanted(package))


def test_lists_and_times_as_json(package: Path) -> None:
    listed = json.loads(run(package, "--list", "--features", "none").stdout)
    assert listed["steps"][0]["kernel"] == PORTABLE.name and listed["cpu_features"] == []
    assert listed["inputs"][0]["dtype"] == "f32" and listed["weights_bytes"] > 0
    timed = json.loads(run(package, "--fill", "--time", "--repeat", 3, "--threads", 2).stdout)
    assert len(timed["run_us"]) == 3 and timed["steps"][0]["us"] > 0


def test_a_batch_goes_on_after_a_failure(package: Path, image: Path, folder: Path) -> None:
    lines = [f"{folder / 'none'} {image.parent} {folder / 'b0'}", f"{package} {image.parent} {folder / 'b1'}"]
    (folder / "list").write_text("\n".join(lines) + "\n")
    done = run("--batch", folder / "list", "--features", "none")
    assert done.returncode == 3
    first, second = done.stdout.splitlines()
    assert first.startswith(f"failed {folder / 'none'}: ") and "cannot be opened" in first
    assert second == f"ok {package}"
    assert np.array_equal(np.fromfile(folder / "b1" / "0.bin", np.float32), wanted(package))


def test_exit_codes_and_messages(package: Path, folder: Path) -> None:
    (folder / "short.bin").write_bytes(b"1234")
    (folder / "damaged.tcpkg").write_bytes(package.read_bytes()[:-64])
    (name,) = model(SAMPLE)[1]
    expected = [
        ([], 2, "usage:"),
        ([package, "--cores", "fast"], 2, "must be all, big or little"),
        ([package, "--threads", 65], 2, "must be a number from 0 to 64"),
        ([package, "--features", "mmx"], 2, "names are"),
        ([package], 2, f'input "{name}" is not given'),
        ([package, "--input", "nobody=x"], 2, "has no such input"),
        ([package, "--input", f"{name}={folder / 'short.bin'}"], 2, "has 4 bytes"),
        ([package, "--input", f"{name}={folder / 'nowhere'}"], 3, "No such file"),
        ([folder / "none.tcpkg"], 3, "cannot be opened"),
        ([folder], 3, "not a file but a directory"),
        ([folder / "damaged.tcpkg"], 4, "end with the file"),
        ([package, "--fill", "--output-dir", folder / "no" / "where"], 3, "creating folder"),
    ]
    for words, code, part in expected:
        done = run(*words)
        assert done.returncode == code and part in done.stderr, f"{words}: {done.returncode} {done.stderr}"
