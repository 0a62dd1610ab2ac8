"""What users do wrong gets one clear message, the right exit code and no traceback."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tiny_model import SHAPE

from tiercast.cli import call

pytestmark = pytest.mark.native
USAGE, REFUSED = 2, 1


def message(capsys: pytest.CaptureFixture[str], *arguments: str, code: int) -> str:
    """What a failing command line prints on stderr."""
    capsys.readouterr()
    assert call(arguments) == code
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err and "error:" in captured.err
    return " ".join(captured.err.split())


def test_unknown_target(capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path) -> None:
    words = ["compile", str(model), "--target", "pixel-9", "-o", str(tmp_path / "x.tcpkg"), "--input", SHAPE]
    text = message(capsys, *words, code=USAGE)
    assert "'pixel-9'" in text and "linux-arm64" in text
    assert not (tmp_path / "x.tcpkg").exists()


def test_unknown_pass(capsys: pytest.CaptureFixture[str], model: Path) -> None:
    assert "fuse_activation" in message(
        capsys, "compile", str(model), "--print-after", "fuse_all", code=USAGE
    )


def test_output_not_writable(capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    output = tmp_path / "file" / "x.tcpkg"
    text = message(capsys, "compile", str(model), "-o", str(output), "--input", SHAPE, code=REFUSED)
    assert str(output) in text and "--output" in text


def test_output_dir_not_writable(capsys: pytest.CaptureFixture[str], package: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    words = ["run", str(package), "--output-dir", str(tmp_path / "file" / "out")]
    assert "--output-dir" in message(capsys, *words, code=REFUSED)


def test_missing_cross_compiler(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    text = message(capsys, "build", "--target", "linux-arm64", code=REFUSED)
    assert "clang++-19" in text and "apt-get install" in text and "g++-aarch64-linux-gnu" in text
    capsys.readouterr()
    assert call(["targets", "--json"]) == 0
    arm = json.loads(capsys.readouterr().out)["targets"][1]
    assert not arm["buildable"] and "clang++-19" in arm["missing"]


def test_preferring_anything_but_tvm_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["compile", "model.onnx", "--prefer", "ncnn"]) == 2
    assert "--prefer 'ncnn' is unknown; it takes tvm" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "verify"])
def test_wrong_input_name(
    capsys: pytest.CaptureFixture[str], model: Path, package: Path, command: str
) -> None:
    words = [command, *([str(model)] if command == "verify" else []), str(package), "--input", "frame=x.npy"]
    text = message(capsys, *words, code=USAGE)
    assert "'frame'" in text and "image" in text


def test_wrong_input_shape(capsys: pytest.CaptureFixture[str], package: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 8, 16), np.float32))
    text = message(capsys, "run", str(package), "--input", f"image={tmp_path / 'x.npy'}", code=USAGE)
    assert "(1, 3, 16, 16)" in text and "(1, 3, 8, 16)" in text


def test_wrong_input_dtype(capsys: pytest.CaptureFixture[str], package: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 16, 16), np.float64))
    text = message(capsys, "run", str(package), "--input", f"image={tmp_path / 'x.npy'}", code=USAGE)
    assert "float32" in text and "float64" in text


@pytest.mark.parametrize("words", [["--input", "image"], ["--input", "image=none.npy"], ["--pixels", "x"]])
def test_malformed_run_options(capsys: pytest.CaptureFixture[str], package: Path, words: list[str]) -> None:
    message(capsys, "run", str(package), *words, code=USAGE)


@pytest.mark.parametrize("shape", ["image", ":1x3", "image:"])
def test_malformed_shapes(capsys: pytest.CaptureFixture[str], model: Path, shape: str) -> None:
    assert "NAME:SHAPE[:DTYPE]" in message(capsys, "compile", str(model), "--input", shape, code=USAGE)


def test_an_element_type_that_is_not_the_models(capsys: pytest.CaptureFixture[str], model: Path) -> None:
    text = message(capsys, "compile", str(model), "--input", f"{SHAPE}:s64", code=USAGE)
    assert "'image' is f32 in the model, not s64" in text


def test_open_dimensions_name_the_flag(capsys: pytest.CaptureFixture[str], model: Path) -> None:
    assert "--input image:1x3x256x256" in message(capsys, "compile", str(model), code=REFUSED)


def test_unsupported_operators_are_all_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Det", ["x"], ["d"], name="det_3"),
        helper.make_node("NonZero", ["x"], ["n"], name="nz_4"),
    ]
    ports = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 2])]
    outputs = [
        helper.make_tensor_value_info("d", TensorProto.FLOAT, []),
        helper.make_tensor_value_info("n", TensorProto.INT64, [2, None]),
    ]
    made = helper.make_model(
        helper.make_graph(nodes, "bad", ports, outputs),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(made, tmp_path / "bad.onnx")
    text = message(capsys, "compile", str(tmp_path / "bad.onnx"), code=REFUSED)
    assert all(word in text for word in ("Det", "det_3", "NonZero", "nz_4"))


def test_damaged_package(capsys: pytest.CaptureFixture[str], package: Path, tmp_path: Path) -> None:
    data = package.read_bytes()
    (tmp_path / "cut.tcpkg").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.tcpkg").write_text("hello")
    for name in ("cut.tcpkg", "text.tcpkg", "none.tcpkg"):
        for command in ("run", "inspect", "bench"):
            assert name in message(capsys, command, str(tmp_path / name), code=REFUSED)


def test_peers_without_an_engine_says_how_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    text = message(capsys, "bench", "--peers", "m.onnx", "--engines", "tiercast,executorch", code=USAGE)
    assert "--no-deps executorch==" in text


def test_peers_takes_one_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert "one model" in message(capsys, "bench", "--peers", "a.onnx", "b.onnx", code=USAGE)
    assert "--peers" in message(capsys, "bench", "a.tcpkg", "--html", "a.html", code=USAGE)


def test_unknown_kernel(capsys: pytest.CaptureFixture[str]) -> None:
    assert "conv2d_f32f32_portable" in message(capsys, "inspect", "--kernel", "conv2d", code=USAGE)


def test_errors_are_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["run", "none.tcpkg", "--json"]) == REFUSED
    found = json.loads(capsys.readouterr().out)
    assert found["error"]["kind"] == "PackageError" and "none.tcpkg" in found["error"]["message"]


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["run", "none.tcpkg", "--debug"]) == REFUSED
    assert "Traceback" in capsys.readouterr().err


def test_wrong_options_are_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        call(["run"]) == USAGE
        and call(["run", "x.tcpkg", "--threads", "65"]) == USAGE
        and call(["fly"]) == USAGE
    )


# The process pauses where all bytes are written but not yet under their name.
_PAUSED = """
import os, sys, time
os.fsync = lambda handle: (print("written", flush=True), time.sleep(60))
from tiercast.package.file import write_package
from tiercast.pipeline import compile_plan
done = compile_plan(sys.argv[1], inputs={"image": (1, 3, 16, 16)})
from pathlib import Path
write_package(done.plan, Path(sys.argv[2]))
"""


@pytest.mark.parametrize("existed", [False, True])
def test_killed_while_writing_leaves_no_half_file(model: Path, tmp_path: Path, existed: bool) -> None:
    output = tmp_path / "x.tcpkg"
    if existed:
        output.write_bytes(b"the package of yesterday")
    command = [sys.executable, "-c", _PAUSED, str(model), str(output)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert output.exists() == existed
    if existed:
        assert output.read_bytes() == b"the package of yesterday"
