"""The tables of Resize2d against PyTorch's interpolate along one axis."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tiercast.ops.resize2d import table

torch = pytest.importorskip("torch", reason="PyTorch is the oracle")


def resized(line: np.ndarray, out: int, **attributes: object) -> np.ndarray:
    """A line of pixels resampled by the table of its axis."""
    known = {"out": [out, out], "scales": [out / len(line)] * 2, **attributes}
    items = [ir.convenience.convert_attribute(key, value) for key, value in known.items()]
    node = ir.Node("tiercast", "Resize2d", [ir.Value(name="x")], attributes=items, name="resize")
    positions, weights = table(node, 0, len(line))
    return np.asarray((line[positions] * weights).sum(1))


@pytest.mark.parametrize("out", [1, 3, 5, 7, 8, 13, 20])
@pytest.mark.parametrize(
    ("mode", "options", "attributes"),
    [
        ("bilinear", {"align_corners": False}, {"mode": "linear", "coordinate": "half_pixel"}),
        ("bilinear", {"align_corners": True}, {"mode": "linear", "coordinate": "align_corners"}),
        ("nearest", {}, {"mode": "nearest", "coordinate": "asymmetric", "nearest_mode": "floor"}),
        ("bicubic", {"align_corners": False}, {"mode": "cubic", "coordinate": "half_pixel"}),
    ],
)
def test_table_is_torchs(
    mode: str, options: dict[str, bool], attributes: dict[str, object], out: int
) -> None:
    line = np.random.default_rng(out).standard_normal(7).astype(np.float32)
    image = torch.from_numpy(line).reshape(1, 1, 7, 1).expand(1, 1, 7, 2)
    wanted = torch.nn.functional.interpolate(image, (out, 2), mode=mode, **options)[0, 0, :, 0].numpy()
    np.testing.assert_allclose(resized(line, out, **attributes), wanted, rtol=1e-5, atol=1e-6)


def test_weights_of_each_output_pixel_sum_to_one() -> None:
    assert np.allclose(resized(np.ones(9, np.float32), 23, mode="linear"), 1.0)
    assert np.allclose(resized(np.ones(9, np.float32), 23, mode="cubic", exclude_outside=1), 1.0)


def test_a_scale_in_f32_means_the_ratio_of_the_sizes() -> None:
    """f32's 0.1 is a little more than 30 / 300: divided by it, position 3 would be 29.99..., pixel 29."""
    line = np.arange(300, dtype=np.float32)
    near = {"scales": [float(np.float32(0.1))] * 2, "coordinate": "asymmetric", "nearest_mode": "floor"}
    np.testing.assert_array_equal(resized(line, 30, mode="nearest", **near), line[::10])
