"""Ops of a user's own folder: they compile, run and are judged; wrong ones are told where; nothing leaks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import tiercast
from tests.custom.ops_folder import CHECK, MANIFEST, OP, PORTABLE, make_ops, twice_model
from tiercast.cli import call
from tiercast.custom import VARIABLE, custom_ops, find_folders
from tiercast.errors import GraphError, ModelError, PackageError, ToolchainError, UnsupportedError, UsageError
from tiercast.kernel import families
from tiercast.ops.registry import legalizer, ops
from tiercast.pipeline import compile_plan

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(1, 3, 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ops(tmp_path_factory.mktemp("ops") / "my_ops")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return twice_model(tmp_path_factory.mktemp("model") / "twice.onnx")


@pytest.fixture(scope="module")
def package(folder: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiercast.compile(model, output=tmp_path_factory.mktemp("pkg") / "twice.tcpkg", ops=[folder])


@pytest.mark.native
def test_the_package_runs_and_is_verified(folder: Path, model: Path, package: Path) -> None:
    got = tiercast.Session(package).run({"x": X})["y"]
    np.testing.assert_allclose(got, np.maximum(2 * X, 0) + 1, rtol=1e-6)
    assert tiercast.verify(model, package, ops=[folder]).ok


def test_the_package_stage_of_a_model_takes_its_kernels_along(folder: Path, model: Path) -> None:
    assert tiercast.verify(model, f"{model}@package", ops=[folder]).ok


@pytest.mark.parametrize("opset", [11, 17, 21])
def test_older_opsets_keep_the_operator(folder: Path, tmp_path: Path, opset: int) -> None:
    plan = compile_plan(twice_model(tmp_path / "m.onnx", opset), "linux-arm64", ops=[folder]).plan
    assert "twice_f32f32_portable" in [step.kernel for step in plan.steps]
    assert plan.facts["extra_kernels"] == "twice_f32f32_portable"


def test_outside_of_it_nothing_knows_the_op(folder: Path, model: Path) -> None:
    with custom_ops([folder]):
        assert "Twice" in ops() and "twice" in families() and legalizer("test.domain", "Twice") is not None
    assert "Twice" not in ops() and "twice" not in families() and legalizer("test.domain", "Twice") is None
    with pytest.raises(UnsupportedError, match=r'test.domain.Twice: "double"'):
        compile_plan(model, "linux-arm64")


@pytest.mark.native
def test_a_package_without_its_kernels_says_what_is_missing(package: Path, tmp_path: Path) -> None:
    alone = Path(shutil.copy(package, tmp_path / "alone.tcpkg"))
    with pytest.raises(
        PackageError, match=r"calls the kernels twice_f32f32_portable .*alone\.kernels.* missing"
    ):
        tiercast.Session(alone)


@pytest.mark.native
def test_the_runtime_alone_says_what_to_build(package: Path) -> None:
    from tiercast import _native

    with pytest.raises(_native.NativeError, match="tiercast build --target host --for"):
        _native.Session(str(package))


@pytest.mark.native
def test_kernels_of_another_compilation_are_refused(package: Path, model: Path, tmp_path: Path) -> None:
    other = make_ops(tmp_path / "ops", portable=PORTABLE.replace("2.0f", "3.0f"))
    mixed = tiercast.compile(model, output=tmp_path / "m.tcpkg", ops=[other])
    shutil.copy(package, mixed)
    with pytest.raises(PackageError, match="is of another compilation"):
        tiercast.Session(mixed)


@pytest.mark.native
def test_changed_kernels_are_refused(package: Path, tmp_path: Path) -> None:
    shutil.copy(package, tmp_path / "m.tcpkg")
    shutil.copytree(package.with_suffix(".kernels"), tmp_path / "m.kernels")
    (tmp_path / "m.kernels" / "twice_check.cc").write_text("// nothing\n")
    with pytest.raises(PackageError, match=r"not those that kernels\.json names"):
        tiercast.Session(tmp_path / "m.tcpkg")


@pytest.mark.native
def test_kernels_for_another_target_are_not_taken_here(folder: Path, model: Path, tmp_path: Path) -> None:
    package = tiercast.compile(model, "linux-arm64", tmp_path / "m.tcpkg", ops=[folder])
    with pytest.raises(PackageError, match="sources for linux-arm64"):
        tiercast.Session(package)


@pytest.mark.native
def test_the_command_tells_right_rows_from_wrong_ones(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["ops", "test", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    wrong = make_ops(tmp_path / "ops", portable=PORTABLE.replace("2.0f", "2.001f"))
    assert call(["ops", "test", str(wrong), "--json"]) == 1
    (sample,) = json.loads(capsys.readouterr().out)["samples"]
    assert not sample["ok"] and sample["max_rel_error"] == pytest.approx(5e-4, rel=0.1)


@pytest.mark.native
def test_the_command_tests_windows_where_the_op_takes_strides(tmp_path: Path) -> None:
    # It says that it takes strides, its check and its loop do not: dense samples alone would not show it.
    claims = make_ops(
        tmp_path / "ops",
        op=OP.replace("strided_inputs = False", "strided_inputs = True"),
        check=CHECK.replace("dense(x) && ", ""),
    )
    assert call(["ops", "test", str(claims), "--json"]) == 1


@pytest.mark.native
def test_what_the_compiler_says_of_a_template_is_told(model: Path, tmp_path: Path) -> None:
    broken = make_ops(tmp_path / "ops", portable=PORTABLE.replace("2.0f * x[i]", "2.0f * z[i]"))
    with pytest.raises(ToolchainError, match=r"undeclared identifier 'z'|'z' was not declared"):
        tiercast.compile(model, output=tmp_path / "m.tcpkg", ops=[broken])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ops"]  # nothing half-written


def test_errors_of_user_code_say_file_and_line(model: Path, tmp_path: Path) -> None:
    lines = OP.splitlines()
    number = next(index for index, line in enumerate(lines) if "layout.emit" in line) + 1
    lines[number - 1] = "        1 / 0"
    broken = make_ops(tmp_path / "ops", op="\n".join(lines))
    with pytest.raises(GraphError, match=rf"twice\.py:{number}: Twice\.legalize: ZeroDivisionError"):
        compile_plan(model, "linux-arm64", ops=[broken])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"op": "def broken(:\n"}, r"twice\.py:1: SyntaxError"),
        ({"op": "x = 1\n\nraise ValueError('no')\n"}, r"twice\.py:3: ValueError: no"),
        ({"op": "x = 1\n"}, "defines a subclass"),
        ({"op": OP.replace("class Twice", "class Softmax")}, "'Softmax' is there already"),
        ({"op": OP.replace("test.domain::Twice", "Relu")}, "takes ONNX's 'Relu'"),
        (
            {"op": OP.replace("test.domain::Twice", "test.domain::Relu")},
            "'Relu' is an operator of ONNX itself",
        ),
        ({"manifest": MANIFEST.replace('"twice"', '"conv2d"')}, "must be the folder's"),
        (
            {"manifest": MANIFEST.replace('in = "f32"', 'op = "conv2d"\nin = "f32"')},
            "row conv2d_f32f32_portable",
        ),
        ({"manifest": MANIFEST.replace('"portable"', '"neon"')}, 'no row with isa = "portable"'),
        (
            {"manifest": MANIFEST.replace('"portable"', '"mmx"')},
            r"kernels\.toml: 'mmx' is missing or unknown",
        ),
        ({"manifest": "[op"}, r"kernels\.toml: not TOML"),
    ],
)
def test_what_can_not_be_taken_is_refused(tmp_path: Path, changed: dict[str, str], message: str) -> None:
    folder = make_ops(tmp_path / "ops", **changed)
    with pytest.raises(UsageError, match=message), custom_ops([folder]):
        pass


def test_a_template_error_says_file_and_line(model: Path, tmp_path: Path) -> None:
    folder = make_ops(tmp_path / "ops", portable=PORTABLE + "//% for\n")
    with pytest.raises(UsageError, match=rf"portable\.cc\.j2:{PORTABLE.count(chr(10)) + 1}: "):
        compile_plan(model, "linux-arm64", ops=[folder])


def test_a_reference_that_contradicts_the_shape_rule_is_told(model: Path, tmp_path: Path) -> None:
    from tiercast.frontend import reference

    folder = make_ops(tmp_path / "ops", op=OP.replace("[x * 2]", "[x[:, :2] * 2]"))
    with custom_ops([folder]), pytest.raises(ModelError, match=r"reference gives float32 \(1, 2, 4\)"):
        reference(model)[1]({"x": X})


def test_folders_come_from_the_option_the_variable_or_the_project(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    inner = tmp_path / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    (tmp_path / "pyproject.toml").write_text('[tool.tiercast]\nops = ["own"]\n')
    with pytest.raises(UsageError, match="is no folder"):
        find_folders(None)
    (tmp_path / "own").mkdir()
    assert find_folders(None) == [tmp_path / "own"]
    monkeypatch.setenv(VARIABLE, str(folder))
    assert find_folders(None) == [folder]
    assert find_folders([tmp_path / "own"]) == [tmp_path / "own"]
    monkeypatch.setenv(VARIABLE, "")
    assert find_folders(None) == []
