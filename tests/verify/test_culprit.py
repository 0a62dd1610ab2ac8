"""verify names the guilty pass, kernel or file, and cuts out a part that shows the same error."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from test_verify import SHAPES, corrupt
from tiny_model import SHAPE, tiny_model

import tiercast
from tests.verify.faults import pack_wrong, spoil_after
from tiercast.cli import call
from tiercast.errors import UsageError
from tiercast.package.file import read_package, write_package
from tiercast.parity import Side, verify
from tiercast.parity.bisect import first_bad
from tiercast.parity.cut import cut_plan, live_after
from tiercast.parity.report import Probe
from tiercast.parity.side import parse_side
from tiercast.pipeline import compile_plan, stage_names
from tiercast.session import Session

pytestmark = pytest.mark.native


@pytest.fixture
def model(tmp_path: Path) -> str:
    """The small model as a file with fixed sizes."""
    proto = tiny_model()
    for axis, size in ((2, 16), (3, 16)):
        dim = proto.graph.input[0].type.tensor_type.shape.dim[axis]
        dim.Clear()
        dim.dim_value = size
    onnx.save(proto, tmp_path / "tiny.onnx")
    return str(tmp_path / "tiny.onnx")


def test_every_stage_runs_and_is_right(model: str) -> None:
    for stage in [*stage_names(), "package"]:
        report = verify(model, f"{model}@{stage}")
        assert report.ok, stage
    assert verify(f"{model}@load", f"{model}@fuse_activation", layers=True).layers


@pytest.mark.parametrize(
    "stage", ["remove_identities", "assign_layout", "fuse_activation", "fuse_statistics"]
)
def test_a_pass_that_spoils_a_weight_is_named(
    model: str, stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = spoil_after(monkeypatch, stage, (8, 8, 1, 1))
    report = verify(model, f"{model}@package", extract=tmp_path / "part")
    assert not report.ok and report.culprit is not None
    assert (report.culprit.kind, report.culprit.name) == ("pass", name)
    assert len(report.culprit.probes) <= math.ceil(math.log2(len(stage_names()) + 1))
    assert report.first_wrong is not None and report.first_wrong.source in ("c1", "a1")
    after = report.culprit.first_wrong
    assert after is not None and after.source in ("c1", "a1")
    made = report.extraction
    assert made is not None and made.reproduced and f"@{name}" in made.command
    part = onnx.load(made.files[0])
    assert {node.op_type for node in part.graph.node} <= {"Conv", "Add"}
    assert [item.name for item in part.graph.initializer] == ["w1"]
    assert list(np.load(made.files[1])) == ["r0"]
    report = verify(made.files[0], f"{made.files[0]}@{name}", dict(np.load(made.files[1])))
    assert not report.ok and report.max_rel_error == pytest.approx(made.max_rel_error)


def test_a_wrong_kernel_is_told_from_a_wrong_pass(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_wrong(monkeypatch, "c2")
    package = tiercast.compile(model, output=tmp_path / "tiny.tcpkg")
    report = verify(model, package, extract=tmp_path / "part")
    assert report.culprit is not None and report.culprit.kind == "kernels"
    assert report.first_wrong is not None and report.first_wrong.source == "mask"
    made = report.extraction
    assert made is not None and made.reproduced and made.nodes == 2
    assert [node.op_type for node in onnx.load(made.files[0]).graph.node] == ["Conv", "Sigmoid"]


def test_a_damaged_package_is_told_from_a_wrong_compiler(model: str, tmp_path: Path) -> None:
    package = tiercast.compile(model, output=tmp_path / "tiny.tcpkg")
    plan = read_package(package)
    for number in [index for index, step in enumerate(plan.steps) if step.op.startswith("conv2d")]:
        bad = corrupt(package, number, tmp_path / "bad.tcpkg")
        report = verify(model, bad, extract=tmp_path / f"part{number}")
        assert report.culprit is not None and report.culprit.kind == "file"
        assert report.first_wrong is not None and report.first_wrong.index == number
        made = report.extraction
        assert made is not None and made.reproduced and made.nodes == 1
        assert [Path(file).name for file in made.files] == [
            "part.onnx",
            "part.tcpkg",
            "inputs.npz",
            "reproduce.sh",
        ]
        assert len(read_package(Path(made.files[1])).weights) < len(plan.weights)
        again = verify(made.files[0], made.files[1], dict(np.load(made.files[2])))
        assert not again.ok


def test_two_packages_are_compared_and_cut(model: str, tmp_path: Path) -> None:
    package = tiercast.compile(model, output=tmp_path / "tiny.tcpkg")
    bad = corrupt(package, 1, tmp_path / "bad.tcpkg")
    report = verify(package, bad, extract=tmp_path / "part")
    assert report.first_wrong is not None and report.first_wrong.index == 1 and report.culprit is None
    made = report.extraction
    assert made is not None and made.reproduced
    assert [Path(file).name for file in made.files][:2] == ["reference.tcpkg", "part.tcpkg"]
    assert verify(package, f"{package}@portable").ok


def test_an_overflow_in_f16_is_found_at_its_layer(tmp_path: Path) -> None:
    proto = tiny_model()
    full = tiercast.compile(proto, "linux-arm64-v82", tmp_path / "full.tcpkg", SHAPES)
    half = tiercast.compile(proto, "linux-arm64-v82", tmp_path / "half.tcpkg", SHAPES, precision="f16")
    good = verify(f"{full}@portable", f"{half}@portable")
    assert good.ok and good.tolerance == 2e-2
    image = 6e4 * np.random.default_rng(0).uniform(-1, 1, (1, 3, 16, 16)).astype(np.float32)
    report = verify(f"{full}@portable", f"{half}@portable", {"image": image}, extract=tmp_path / "part")
    assert not report.ok and report.first_wrong is not None
    assert report.first_wrong.source == "r0" and report.first_wrong.difference.nonfinite
    assert report.extraction is not None and report.extraction.reproduced


def test_bisection_finds_what_taps_find_in_log_n_runs(model: str, tmp_path: Path) -> None:
    package = tiercast.compile(model, output=tmp_path / "tiny.tcpkg")
    steps = len(read_package(package).steps)
    for number in (1, 2, 3):
        bad = corrupt(package, number, tmp_path / "bad.tcpkg") if number < steps else package
        tapped = verify(model, bad)
        searched = verify(model, bad, bisect=True)
        assert searched.first_wrong is not None and tapped.first_wrong is not None
        assert searched.first_wrong.source == tapped.first_wrong.source
        assert searched.first_wrong.index == number
        assert 0 < len(searched.probes) <= math.ceil(math.log2(steps + 1))


def test_any_cut_of_a_plan_computes_what_the_plan_computes(model: str, tmp_path: Path) -> None:
    plan = compile_plan(model, "host").plan
    image = np.random.default_rng(1).standard_normal((1, 3, 16, 16)).astype(np.float32)
    whole = Session(write_package(plan, tmp_path / "whole.tcpkg"))
    taps = whole.run_tapped({"image": image})[1]
    for last in range(len(plan.steps)):
        wanted = live_after(plan, last) or list(plan.steps[last].outputs)
        part = cut_plan(plan, 0, last, wanted)
        got = Session(write_package(part, tmp_path / "part.tcpkg")).run({"image": image})
        makers = {
            index: (number, slot)
            for number, step in enumerate(plan.steps)
            for slot, index in enumerate(step.outputs)
        }
        for index, array in zip(wanted, got.values(), strict=True):
            number, slot = makers[index]
            perm = plan.tensors[index].perm
            tap = taps[number][slot].reshape(plan.tensors[index].dims)
            np.testing.assert_array_equal(array, np.transpose(tap, np.argsort(perm)) if perm else tap)


def test_first_bad_takes_logarithmically_many_runs() -> None:
    for size in (1, 2, 7, 100):
        for culprit in range(1, size + 1):
            found, probes = first_bad(0, size, lambda at, bad=culprit: Probe(str(at), 0.0, 0, at < bad))
            assert found == culprit and len(probes) <= math.ceil(math.log2(size)) if size > 1 else not probes


def test_sides_are_parsed(model: str) -> None:
    assert parse_side("a.tcpkg@linux-arm64:cortex-a53") == Side("a.tcpkg", None, "linux-arm64", "cortex-a53")
    assert parse_side("a.tcpkg@portable") == Side("a.tcpkg", portable=True)
    assert parse_side("net.py:make@fuse_gate") == Side("net.py:make", "fuse_gate")
    assert str(parse_side("a.tcpkg@linux-arm64:cortex-a53")) == "a.tcpkg@linux-arm64:cortex-a53"
    with pytest.raises(UsageError, match="no stage of the compiler; in order: load, "):
        parse_side("net.onnx@fuse_nothing")
    with pytest.raises(UsageError, match="target 'mars'"):
        parse_side("a.tcpkg@mars")
    with pytest.raises(UsageError, match="no input 'frame'"):
        verify(model, f"{model}@load", {"frame": np.zeros(1, np.float32)})


def test_the_command_writes_chart_and_part(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = spoil_after(monkeypatch, "fuse_activation", (8, 8, 1, 1))
    page, folder = tmp_path / "error.html", tmp_path / "part"
    words = ["verify", model, f"{model}@package", "--html", str(page), "--extract", str(folder)]
    assert call(words) == 1
    shown = capsys.readouterr().out
    assert f"culprit: the pass {name}" in shown and "reproduces it" in shown
    text = page.read_text()
    assert "first wrong" in text and "http" not in text.replace("http://www.w3.org", "")
    assert text.count('class="step first"') == 1
    command = (folder / "reproduce.sh").read_text().splitlines()[1].split()
    assert call([*command[1:], "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert not told["ok"] and told["culprit"]["name"] == name
    monkeypatch.undo()
    right = [word.replace(name, "fuse_activation") for word in command[1:]]
    assert call(right) == 0  # without the fault the part is right


def test_open_dimensions_are_given_by_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(tiny_model(), tmp_path / "open.onnx")
    path = str(tmp_path / "open.onnx")
    assert call(["verify", path, f"{path}@fuse_pad", "--input", SHAPE, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"]
    assert call(["verify", path, f"{path}@fuse_pad"]) == 1
    assert "--input" in capsys.readouterr().err
