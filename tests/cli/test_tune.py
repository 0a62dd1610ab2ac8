"""Tuning: every way is measured, the records decide the next compilation; devices are asked for over adb."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from tiny_model import SHAPE

from tiercast.cli import call
from tiercast.codegen.build import build
from tiercast.errors import PackageError, ToolchainError, UsageError
from tiercast.package.file import read_package, write_package
from tiercast.pipeline import compile_plan, resolve
from tiercast.records import Records, cpu_of, read_records
from tiercast.tune import timer_for, tune
from tiercast.tuning import DECIDED

pytestmark = pytest.mark.native
INPUTS = {"image": (1, 3, 16, 16)}


class FakeTimer:
    """avx2 rows take a microsecond a step, all others two."""

    cpu, unit = cpu_of(resolve("host")) or "", "us"

    def times(self, packages: Sequence[Path]) -> list[list[float]]:
        plans = [read_package(path) for path in packages]
        return [[1.0 if "avx2" in step.kernel else 2.0 for step in plan.steps] for plan in plans]


@pytest.mark.skipif("avx512" not in resolve("host").has, reason="takes a CPU with two sets of rows")
def test_what_was_fastest_is_taken_from_then_on(model: Path, tmp_path: Path) -> None:
    before = compile_plan(model, inputs=INPUTS, records=Records("")).plan
    done = tune(model, "host", FakeTimer(), INPUTS, tmp_path)
    assert done.decisions >= 3 and done.measurements >= 2 * done.decisions and done.changed
    after = compile_plan(model, inputs=INPUTS, records=tmp_path).plan
    several = [step for step in before.steps if "avx512" in step.kernel]
    assert several and not any("avx512" in step.kernel for step in after.steps)
    refused = [line for step in after.steps for line in step.refused if "is faster here" in line]
    assert refused
    decided = [text for key, text in after.facts.items() if key.startswith(DECIDED)]
    assert len(decided) >= 3 and all(FakeTimer.cpu in text for text in decided)


@pytest.mark.skipif("avx512" not in resolve("host").has, reason="takes a CPU with two sets of rows")
def test_a_row_is_timed_where_its_algorithm_is_taken(tmp_path: Path) -> None:
    graph = onnx.parser.parse_graph(
        """g (float[1,16,24,24] x, float[32,16,3,3] w) => (float[1,32,24,24] y) {
             y = Conv <pads = [1, 1, 1, 1]> (x, w) }"""
    )
    graph.initializer.append(
        onnx.numpy_helper.from_array(np.random.default_rng(0).normal(size=(32, 16, 3, 3)).astype("f"), "w")
    )
    del graph.input[1]
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 23)], ir_version=10)
    done = tune(model, "host", NumberTimer(), folder=tmp_path)
    for key, ways in read_records(done.path, resolve("host")).times.items():
        op, _, algorithm = key.partition(" of ")
        if algorithm:
            assert set(ways.values()) <= NumberTimer.times_of[op]
            assert len(ways) == 2


class NumberTimer:
    """A time of its own for each row that computes y; times_of: by kernel op."""

    cpu, unit = "numbers", "us"
    times_of: dict[str, set[float]]

    def times(self, packages: Sequence[Path]) -> list[list[float]]:
        plans = [read_package(path) for path in packages]
        rows = sorted({step.kernel for plan in plans for step in plan.steps})
        NumberTimer.times_of = {}
        for plan in plans:
            for step in plan.steps:
                self.times_of.setdefault(step.op, set()).add(rows.index(step.kernel) + 1.0)
        return [[rows.index(step.kernel) + 1.0 for step in plan.steps] for plan in plans]


def test_the_command_writes_records_that_compile_takes(
    capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    words = [str(model), "--input", SHAPE, "--records", str(tmp_path), "--json"]
    assert call(["tune", *words, "--seconds", "0.01"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["cpu"] == cpu_of(resolve("host")) and found["unit"] == "us"
    assert read_records(Path(found["path"]), resolve("host")).times
    assert call(["compile", *words, "-o", str(tmp_path / "x.tcpkg")]) == 0


def test_what_cannot_be_measured_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="linux-armv7 can't be measured here"):
        timer_for("linux-armv7")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolchainError, match="adb not found"):
        timer_for("host", adb=True)


# A phone that is this machine: `adb push A B` copies, `adb shell ...` runs what lies under FOLDER.
ADB = """#!/bin/bash
set -e
case "$1" in
devices) printf 'List of devices attached\\n'; [ -z "$STATE" ] || printf 'serial\\t%s\\n' "$STATE" ;;
push) cp "$2" "$FOLDER/$(basename "$3")" ;;
shell)
  case "$2" in
  getprop) echo Testdragon ;;
  mkdir) ;;
  *) "$FOLDER/$(basename "$2")" "$FOLDER/$(basename "$3")" "${@:4}" ;;
  esac ;;
esac
"""


def test_a_device_is_measured_over_adb(monkeypatch: pytest.MonkeyPatch, model: Path, tmp_path: Path) -> None:
    build("host")
    (tmp_path / "adb").write_text(ADB)
    (tmp_path / "adb").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("FOLDER", str(tmp_path))
    for state, shown in (("", "none"), ("unauthorized", "serial")):
        monkeypatch.setenv("STATE", state)
        with pytest.raises(ToolchainError, match=f"adb shows 0 devices that are ready.*{shown}"):
            timer_for("host", adb=True)
    monkeypatch.setenv("STATE", "device")
    timer = timer_for("host", adb=True)
    done = tune(model, "host", timer, INPUTS, tmp_path)
    assert done.cpu == "Testdragon" and done.path.name == "host-testdragon.json" and done.measurements
    (tmp_path / "tiercast-run").write_text("#!/bin/bash\necho no such core >&2; exit 3\n")
    with pytest.raises(PackageError, match="exit code 3: no such core"):
        timer.times([compiled(model, tmp_path)])


def compiled(model: Path, folder: Path) -> Path:
    return write_package(compile_plan(model, inputs=INPUTS).plan, folder / "y.tcpkg")
