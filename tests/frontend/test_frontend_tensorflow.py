"""TensorFlow's model files compile to what TensorFlow computes; what can't be read is refused by name."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tiercast import compile, verify
from tiercast.errors import ModelError, UsageError
from tiercast.frontend import load, tf_files
from tiercast.pipeline import compile_plan

pytestmark = [
    pytest.mark.native,
    pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="pip install 'tiercast[tf]'"),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tf")
    script = Path(__file__).with_name("tf_models.py")
    done = subprocess.run([sys.executable, script, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


IMAGE = (1, 17, 23, 3)
RIGHT: dict[str, tuple[str, dict[str, Sequence[int]], list[str]]] = {
    "keras": ("vision.keras", {"image": IMAGE}, ["mask", "score"]),
    "h5": ("vision.h5", {"image": (2, *IMAGE[1:])}, ["mask", "score"]),
    "saved_model": ("vision", {"image": IMAGE}, ["output_0", "output_1"]),
    "resizes": (
        "resized",
        {},
        [
            *("area", "bilinear", "bilinear_asymmetric", "bilinear_corners"),
            *("flipped", "nearest", "nearest_corners", "nearest_half"),
        ],
    ),
    "detector": ("detector", {}, [f"{name}{at}" for name in "ab" for at in range(4)]),
    "recurrent": ("recurrent.keras", {"frames": (1, 6, 5)}, ["both"]),
    "signature": ("resizer:half", {"image": (1, 10, 14, 3)}, ["small"]),
    "passed through": ("resizer:both", {}, ["same", "sum"]),
    "frozen": ("frozen.pb", {"x": (2, 6)}, ["out", "total"]),
    "chosen outputs": ("frozen.pb:dense", {"x": (2, 6)}, ["dense"]),
}


@pytest.mark.parametrize("name", RIGHT)
def test_packages_compute_what_tensorflow_does(name: str, models: Path, tmp_path: Path) -> None:
    file, inputs, outputs = RIGHT[name]
    source = f"{models}/{file}"
    report = verify(source, compile(source, output=tmp_path / "m.tcpkg", inputs=inputs), tolerance=1e-5)
    assert report.reference == "TensorFlow"
    assert [item.name for item in report.outputs] == outputs
    assert report.ok, report.outputs


def test_cubic_resizes(models: Path, tmp_path: Path) -> None:
    """TensorFlow itself takes their weights from a table of 1024 steps, so no more than that can agree."""
    source = str(models / "cubic")
    assert verify(source, compile(source, output=tmp_path / "m.tcpkg"), tolerance=2e-3).ok


@pytest.mark.parametrize("file", ["vision.keras", "vision"])
def test_plans_move_no_layouts(file: str, models: Path) -> None:
    """The model's NHWC is the order that kernels want: what tf2onnx transposes comes together again."""
    done = compile_plan(f"{models}/{file}", inputs={"image": IMAGE})
    found = [node.op_type for node in done.model.graph]
    assert "Copy" not in found and found.count("Resize2d") == 2  # and repeated pixels are an enlargement
    assert found.count("Conv2d") + found.count("DepthwiseConv2d") == 6  # batch norms are folded
    assert found.count("Pointwise") == 1  # the squeeze-excite block's product with gelu behind it


WRONG: dict[str, tuple[str, dict[str, Sequence[int]], type[Exception], str]] = {
    "open dimensions": ("vision.keras", {}, ModelError, r"image: \?x17x23x3\n.*--input image:1x17x23x3"),
    "open size": ("resizer:half", {}, ModelError, r"image: \?x\?x\?x3\n.*--input image:1x256x256x3"),
    "unknown input": ("frozen.pb", {"y": (1, 6)}, UsageError, "no input 'y'; the model's inputs are x"),
    "contradiction": ("frozen.pb", {"x": (1, 7)}, UsageError, "dimension 1 .* is 6 already, not 7"),
    "several signatures": (
        "resizer",
        {},
        UsageError,
        r'its signatures are both, half\. Choose one: ".*:both"',
    ),
    "unknown signature": (
        "resizer:third",
        {},
        UsageError,
        "no signature 'third'; its signatures are both, half",
    ),
    "unknown output": ("frozen.pb:nothing", {"x": (1, 6)}, UsageError, "'nothing' names no outputs"),
    "unsupported": (
        "unsupported",
        {},
        ModelError,
        r'2 operator\(s\).*\n  Betainc: ".*beta".*\n  Lgamma: ".*gam"',
    ),
    "unknown to ONNX": (
        "area",
        {},
        ModelError,
        r"tf2onnx can't convert\n  .*smaller: ValueError: an area resize",
    ),
    "custom layer": (
        "custom.keras",
        {"x": (1, 4)},
        ModelError,
        r"classes .* does not hold.*\n.*model\.export",
    ),
    "lambda layer": (
        "lambda.keras",
        {"x": (1, 4)},
        ModelError,
        r"runs no code from a model file\n.*model\.export",
    ),
    "lambda in h5": (
        "lambda.h5",
        {"x": (1, 4)},
        ModelError,
        r"runs no code from a model file\n.*model\.export",
    ),
    "no SavedModel": (".", {}, ModelError, r"holds no saved_model\.pb"),
    "no file": ("none.keras", {}, ModelError, "there is no file or folder"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_sources_are_explained(name: str, models: Path) -> None:
    file, inputs, error, match = WRONG[name]
    with pytest.raises(error, match=f"(?s)^tensorflow:.*{match}"):
        load(f"{models}/{file}", inputs)


@pytest.mark.parametrize("file", ["vision.keras", "vision.h5", "frozen.pb", "vision/saved_model.pb"])
@pytest.mark.parametrize("damage", ["cut", "garbage", "empty"])
def test_damaged_files_are_refused(file: str, damage: str, models: Path, tmp_path: Path) -> None:
    path = tmp_path / file
    if path.name == "saved_model.pb":
        shutil.copytree(models / "vision", path.parent)
    whole = (models / file).read_bytes()
    path.write_bytes({"cut": whole[: len(whole) // 2], "garbage": b"\x07garbage" * 99, "empty": b""}[damage])
    with pytest.raises(ModelError, match=rf"^tensorflow:{file.partition('/')[0]}: (not a|it holds no)"):
        load(path, {"image": IMAGE})


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, models: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"needs tensorflow and tf2onnx.*pip install 'tiercast\[tf\]'"):
        load(models / "vision.keras")


def test_a_dead_process_is_reported_and_replaced(monkeypatch: pytest.MonkeyPatch, models: Path) -> None:
    worker = tf_files._worker()
    with pytest.raises(
        ModelError, match=r"tensorflow:m: the process that reads it ended with exit code 1\n(?s:.*)KeyError"
    ):
        worker.ask("tensorflow:m", do="what nobody knows")
    assert load(models / "frozen.pb", {"x": (1, 6)}).graph.num_nodes() == 3


def test_a_model_in_memory(models: Path, tmp_path: Path) -> None:
    """A keras.Model is converted where it is, custom layers included."""
    script = """
import sys
from tests.frontend.tf_models import Doubled, keras
from tiercast import compile, verify
x = keras.Input((4,), name="x")
model = keras.Model(x, Doubled(name="twice")(keras.layers.Dense(3)(x)))
report = verify(model, compile(model, output=sys.argv[1], inputs={"x": (1, 4)}))
assert report.ok and report.reference == "TensorFlow" and report.outputs[0].name == "twice"
"""
    command = [sys.executable, "-c", script, str(tmp_path / "m.tcpkg")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
