"""Every command works, and with --json prints one JSON object on stdout and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image
from tiny_model import SHAPE

from tiercast import __version__
from tiercast.cli import call

pytestmark = pytest.mark.native


def result(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    """Runs the command with --json and returns its object."""
    capsys.readouterr()
    assert call([*arguments, "--json"]) == code
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_compile(capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path) -> None:
    package, saved, page = (tmp_path / name for name in ("x.tcpkg", "fused.onnx", "report.html"))
    found = result(
        capsys, "compile", str(model), "-o", str(package), "--input", SHAPE, "--print-after",
        "fuse_activation", "--save-after", f"assign_layout={saved}", "--report", str(page),
    )  # fmt: skip
    assert found["package"] == str(package) and found["package_bytes"] == package.stat().st_size
    assert found["steps"] == sum(found["kernels"].values()) >= 3
    assert "activation=relu" in found["printed"]["fuse_activation"]
    assert {"Conv2d"} <= {node.op_type for node in onnx.load(saved).graph.node}
    html = page.read_text()
    assert "<svg" in html and "fuse_activation" in html and "http" not in html


def test_compile_torchscript_says_what_it_does(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes stderr for a terminal
    torch.jit.trace(torch.nn.Embedding(9, 4).eval(), torch.zeros(1, 2, dtype=torch.int64)).save(
        tmp_path / "net.pt"
    )
    words = ["compile", f"{tmp_path}/net.pt", "-o", f"{tmp_path}/x.tcpkg", "--input", "input:1x5:s64"]
    assert call(words) == 0
    assert "PyTorch" in capfd.readouterr().err  # one of the steps; quick ones are never drawn
    assert call([*words, "--json"]) == 0
    captured = capfd.readouterr()
    assert captured.err == "" and json.loads(captured.out)["steps"] >= 1


def test_compile_in_half_precision_measures_ranges(
    capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    frames, package = tmp_path / "frames.npz", tmp_path / "half.tcpkg"
    half = [
        "compile",
        str(model),
        "-t",
        "linux-arm64-v82",
        "--precision",
        "f16",
        "-o",
        str(package),
        "--input",
        SHAPE,
    ]
    found = result(capsys, *half)
    assert found["precision"] == "f16" and "random inputs" in found["warning"]
    assert found["kept_f32"] == [] and any("f16f16_neonfp16" in kernel for kernel in found["kernels"])
    steps = result(capsys, "inspect", str(package))["steps"]
    assert (steps[0]["input_dtypes"], steps[0]["output_dtypes"]) == (["f32"], ["f16"])
    np.savez(frames, image=np.full((1, 3, 16, 16), 1e6, np.float32))
    found = result(capsys, *half, "--calibrate", str(frames))
    assert "warning" not in found and any("reaches 1e+06" in line for line in found["kept_f32"])


def test_run_is_the_same_for_the_same_seed(
    capsys: pytest.CaptureFixture[str], package: Path, tmp_path: Path
) -> None:
    first = result(capsys, "run", str(package), "--random-seed", "3", "--output-dir", str(tmp_path / "a"))
    again = result(capsys, "run", str(package), "--random-seed", "3", "--output-dir", str(tmp_path / "b"))
    other = result(capsys, "run", str(package), "--random-seed", "4")
    assert first["outputs"] == again["outputs"] != other["outputs"]
    assert first["outputs"][0]["shape"] == [1, 4, 8, 8]
    np.testing.assert_array_equal(np.load(tmp_path / "a/mask.npy"), np.load(tmp_path / "b/mask.npy"))


def test_run_reads_arrays_and_pictures(
    capsys: pytest.CaptureFixture[str], package: Path, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    array = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None].astype(np.float32) / 255 * 2 - 1).astype(
        np.float32
    )
    Image.fromarray(pixels).save(tmp_path / "in.png")
    np.save(tmp_path / "in.npy", array)
    np.savez(tmp_path / "in.npz", image=array)
    words = [f"image={tmp_path / 'in.png'}", f"image={tmp_path / 'in.npy'}", f"image={tmp_path / 'in.npz'}"]
    words.append(str(tmp_path / "in.npz"))
    found = [
        result(capsys, "run", str(package), "--input", word, "--pixels=-1,1")["outputs"] for word in words
    ]
    for outputs in found[1:]:
        assert outputs[0]["mean"] == pytest.approx(found[0][0]["mean"], abs=1e-6)


def test_verify(capsys: pytest.CaptureFixture[str], model: Path, package: Path) -> None:
    found = result(capsys, "verify", str(model), str(package))
    assert found["ok"] and found["outputs"][0]["name"] == "mask" and found["max_rel_error"] <= 1e-4


def test_verify_says_no_when_the_tolerance_is_not_met(
    capsys: pytest.CaptureFixture[str], model: Path, package: Path
) -> None:
    found = result(capsys, "verify", str(model), str(package), "--tolerance", "1e-12", code=1)
    assert not found["ok"] and found["first_wrong"]["index"] == 1  # step 0 only moves data


def test_inspect_a_model(capsys: pytest.CaptureFixture[str], model: Path) -> None:
    found = result(capsys, "inspect", str(model), "--input", SHAPE)
    assert found["operators"]["Conv"] == 3 and found["inputs"][0]["shape"] == [1, 3, 16, 16]
    after = result(capsys, "inspect", str(model), "--input", SHAPE, "--after", "assign_layout")
    assert after["operators"]["Conv2d"] == 3 and "Conv2d(" in after["graph"]


def test_inspect_a_package(capsys: pytest.CaptureFixture[str], package: Path) -> None:
    found = result(capsys, "inspect", str(package))
    assert [port["name"] for port in found["inputs"] + found["outputs"]] == ["image", "mask"]
    assert len(found["steps"]) >= 3 and found["memory"] and found["facts"]["model"] == "tiny"


def test_inspect_a_kernel(capsys: pytest.CaptureFixture[str]) -> None:
    assert "TC_KERNEL" in result(capsys, "inspect", "--kernel", "conv2d_f32f32_portable")["source"]


def test_bench_packages_in_turn(capsys: pytest.CaptureFixture[str], package: Path) -> None:
    found = result(capsys, "bench", str(package), str(package), "--seconds", "0.05")["packages"]
    assert len(found) == 2 and found[0]["runs"] == found[1]["runs"] >= 5
    assert all(step["median_us"] > 0 for step in found[0]["steps"])


def test_bench_kernels(capsys: pytest.CaptureFixture[str]) -> None:
    found = result(capsys, "bench", "kernels", "--op", "softmax", "--isa", "portable", "--seconds", "0.01")
    assert found["peak_gflops"] > 1 and found["kernels"]
    assert all(row["refused"] or row["median_us"] > 0 for row in found["kernels"])


@pytest.mark.slow
def test_bench_peers(capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    words = ["--engines", "tiercast,onnxruntime", "--threads", "2", "--seconds", "0.01", "--html", str(page)]
    found = result(capsys, "bench", "--peers", str(model), "--input", SHAPE, *words)
    assert [section["threads"] for section in found["sections"]] == [1, 2]
    for section in found["sections"]:
        cells = section["models"]["tiny"]["engines"]
        assert all(
            cells[name]["error"] < 1e-4 and cells[name]["ms"] > 0 for name in ("tiercast", "onnxruntime")
        )
    assert found["machine"]["peak_gflops"] > 1 and "onnxruntime" in page.read_text()


def test_targets(capsys: pytest.CaptureFixture[str]) -> None:
    found = {item["name"]: item for item in result(capsys, "targets")["targets"]}
    assert {"host", "linux-arm64", "linux-armv7"} <= set(found) and "neon" in found["linux-arm64"]["has"]


@pytest.mark.slow
@pytest.mark.qemu("linux-arm64")
def test_a_selected_library_is_smaller_and_still_runs(
    capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm = tmp_path / "arm.tcpkg"
    result(capsys, "compile", str(model), "-t", "linux-arm64", "-o", str(arm), "--input", SHAPE)
    selected = result(capsys, "build", "-t", "linux-arm64", "--for", str(arm), "-o", str(tmp_path / "out"))
    full = result(capsys, "build", "-t", "linux-arm64")
    assert selected["runtime_bytes"] < selected["full_bytes"] < full["full_bytes"] / 2
    assert (tmp_path / "out" / "include" / "tiercast" / "tiercast.h").exists()
    program = [*result(capsys, "targets")["targets"][1]["emulator"], str(tmp_path / "out" / "tiercast-run")]
    done = subprocess.run([*program, str(arm), "--fill", "--output-dir", str(tmp_path)], capture_output=True)
    assert done.returncode == 0, done.stderr
    assert np.isfinite(np.fromfile(tmp_path / "0.bin", np.float32)).all()


def test_every_command_also_prints_for_people(
    capsys: pytest.CaptureFixture[str], model: Path, package: Path
) -> None:
    for words in (
        ["inspect", str(package), "--memory", "--refusals"],
        ["targets"],
        ["verify", str(model), str(package)],
    ):
        assert call(words) == 0
        assert len(capsys.readouterr().out.splitlines()) > 2


def test_help_and_version_are_quick_and_import_no_framework() -> None:
    code = "import sys; from tiercast.cli import call; call(['--version']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"tiercast {__version__}")
    assert not {"torch", "onnx", "onnxruntime", "tensorflow", "numpy"} & set(done.stdout.split())
