"""ONNX NonMaxSuppression against onnxruntime, of a declared number of rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx_node import parsed, wanted

from tiercast import Session, compile
from tiercast.errors import ModelError

LIMITS = {"most": np.int64(12), "overlap": np.float32(0.3), "least": np.float32(0.25)}


def model(rows: str, inputs: str = "boxes, scores, most, overlap, least", center: int = 0) -> onnx.ModelProto:
    text = f"""(float[2,60,4] boxes, float[2,3,60] scores) => (int64[{rows},3] y)
        {{ y = NonMaxSuppression<center_point_box={center}>({inputs}) }}"""
    made = parsed(text, opset=22)
    made.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(data), name) for name, data in LIMITS.items() if name in inputs
    )
    return made


def detections(seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    scores = np.round(random.random((2, 3, 60)), 1)  # many are equal
    return {"boxes": random.uniform(0, 4, (2, 60, 4)).astype(np.float32), "scores": scores.astype(np.float32)}


@pytest.mark.native
@pytest.mark.parametrize("center", [0, 1])
@pytest.mark.parametrize("inputs", ["boxes, scores, most, overlap, least", "boxes, scores, most"])
def test_the_rows_that_stay_and_no_others(tmp_path: Path, center: int, inputs: str) -> None:
    session = Session(compile(model("80", inputs, center), output=tmp_path / "m.tcpkg"))
    for seed in range(5):
        feeds = detections(seed)
        best = wanted(model("N", inputs, center), feeds)["y"]
        found = session.run(feeds)["y"]
        assert 0 < len(best) < 80
        np.testing.assert_array_equal(found[: len(best)], best)
        assert (found[len(best) :] == -1).all()


@pytest.mark.native
def test_no_more_rows_than_declared_and_no_boxes_without_a_number(tmp_path: Path) -> None:
    feeds = detections(0)
    feeds["scores"][0, 0, :50] = np.nan
    found = Session(compile(model("4"), output=tmp_path / "m.tcpkg")).run(feeds)["y"]
    assert found.shape == (4, 3) and (found[:, 2] >= 0).all()
    assert not ((found[:, :2] == 0).all(1) & (found[:, 2] < 50)).any()


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="its number of results depends on data"):
        compile(model("N"), output=tmp_path / "m.tcpkg")
    computed = parsed(
        """(float[2,60,4] boxes, float[2,3,60] scores, int64 most) => (int64[9,3] y)
        { y = NonMaxSuppression(boxes, scores, most) }""",
        opset=22,
    )
    with pytest.raises(ModelError, match="a limit, must be one constant number"):
        compile(computed, output=tmp_path / "m.tcpkg")
