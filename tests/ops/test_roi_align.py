"""ONNX RoiAlign against onnxruntime, and regions that mean harm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx_node import FEATURES, parsed, random, wanted

from tiercast import Session, compile
from tiercast.errors import ModelError


def text(attributes: str, regions: int = 40) -> str:
    ports = f"float[2,19,13,17] x, float[{regions},4] rois, int64[{regions}] images"
    return f"({ports}) => (float[{regions},19,3,5] y) {{ y = RoiAlign<{attributes}>(x, rois, images) }}"


@pytest.mark.native
@pytest.mark.parametrize("pool", ["avg", "max"])
@pytest.mark.parametrize("samples", [0, 2])
@pytest.mark.parametrize("mode", ["half_pixel", "output_half_pixel"])
def test_regions_on_and_off_the_image(tmp_path: Path, pool: str, samples: int, mode: str) -> None:
    attributes = f"output_height=3, output_width=5, sampling_ratio={samples}, spatial_scale=0.5, "
    attributes += f'mode="{pool}", coordinate_transformation_mode="{mode}"'
    model, generator = parsed(text(attributes), opset=16), np.random.default_rng(0)
    corners = generator.uniform(-20, 40, (40, 2))
    inputs = {
        "x": random(2, 19, 13, 17),
        "rois": np.hstack([corners, corners + generator.uniform(0.1, 30, (40, 2))]).astype(np.float32),
        "images": generator.integers(0, 2, 40),
    }
    package = compile(model, output=tmp_path / "m.tcpkg")
    for features in FEATURES:
        found = Session(package, features=features).run(inputs)["y"]
        np.testing.assert_allclose(found, wanted(model, inputs)["y"], rtol=1e-4, atol=1e-5)


@pytest.mark.native
def test_no_region_reads_elsewhere_or_hangs(tmp_path: Path) -> None:
    model = parsed(text("output_height=3, output_width=5", regions=6))
    plain = [0, 0, 4, 4]
    rois = np.array(
        [plain, [0, 0, 1e30, 1e30], [np.nan] * 4, [-np.inf, 0, np.inf, 9], [9, 9, 1, 1], plain], np.float32
    )
    inputs = {"x": random(2, 19, 13, 17), "rois": rois, "images": np.array([2, 1, 1, 0, 0, -1])}
    found = Session(compile(model, output=tmp_path / "m.tcpkg")).run(inputs)["y"]
    assert np.isfinite(found).all()
    for gone in (0, 2, 4, 5):  # an image that is not there, no numbers, no extent
        assert not found[gone].any()


def test_refusals(tmp_path: Path) -> None:
    model = parsed(text("output_height=3, output_width=5, sampling_ratio=5000"))
    with pytest.raises(ModelError, match="0 to 1024"):
        compile(model, output=tmp_path / "m.tcpkg")
    model = parsed(text("output_height=3, output_width=5").replace("float[40,4] rois", "float16[40,4] rois"))
    with pytest.raises(ModelError):
        compile(model, output=tmp_path / "m.tcpkg")
