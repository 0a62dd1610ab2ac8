"""`tiercast quantize`: what it writes and says, and its refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_model import SHAPE

from tiercast.cli import call

pytestmark = pytest.mark.native


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """Four samples for the tiny model."""
    path = tmp_path / "samples.npz"
    np.savez(path, image=np.random.default_rng(0).standard_normal((4, 3, 16, 16)).astype(np.float32))
    return path


def result(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert call([*arguments, "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_to_a_model_that_verify_and_inspect_take(
    capsys: pytest.CaptureFixture[str], model: Path, samples: Path, tmp_path: Path
) -> None:
    made, package = tmp_path / "tiny.int8.onnx", tmp_path / "tiny.tcpkg"
    words = ["quantize", str(model), "--calib", str(samples), "--input", SHAPE, "--method", "minmax"]
    found = result(capsys, *words, "-o", str(made), "--no-correct-bias")
    assert found["output_bytes"] == made.stat().st_size and found["integers"] == 4
    assert {unit["name"]: unit["precision"] for unit in found["units"]}["sigmoid"] == "f32"
    assert set(found["sqnr_db"]) == {"plain"} and found["sqnr_db"]["plain"] > 25
    assert call(["compile", str(made), "-o", str(package), "--json"]) == 0
    assert call(["verify", str(made), str(package), "--json"]) == 0
    facts = result(capsys, "inspect", str(package))["facts"]
    assert facts["quantization method"] == "minmax"
    assert found["calibration"]["sha256"] in facts["quantization calibration"]


def test_to_a_package_by_pictures(capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    (tmp_path / "photos").mkdir()
    for at in range(3):
        pixels = random.integers(0, 256, (20, 24, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{at}.png")
    package = tmp_path / "tiny.tcpkg"
    words = ["quantize", str(model), "--calib", str(tmp_path / "photos"), "--pixels=-1,1", "--input", SHAPE]
    assert call([*words, "-o", str(package), "--keep", "mix"]) == 0
    text = capsys.readouterr().out
    assert "asked for" in text and "3 of 5 units on integers" in text
    assert result(capsys, "inspect", str(package))["facts"]["integers"].startswith("3 operators")


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (["--calib", "nowhere.npz"], "no such file"),
        (["--method", "magic"], "magic"),
        (["--keep", "nothing"], "no unit nothing"),
        (["-o", "x.bin"], "ends in .onnx or .tcpkg"),
    ],
)
def test_refusals(
    capsys: pytest.CaptureFixture[str], model: Path, samples: Path, words: list[str], rule: str
) -> None:
    base = ["quantize", str(model), "--input", SHAPE]
    base += [] if "--calib" in words else ["--calib", str(samples)]
    assert rule in result(capsys, *base, *words, code=2)["error"]["message"]
