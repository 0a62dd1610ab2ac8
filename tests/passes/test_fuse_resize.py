"""Nearest-neighbour enlargements go into the convolutions behind them, and only where that is the same."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import keeps_physical_result, op_types, physical

from tiercast.ops.registry import attr
from tiercast.passes.fuse_pad import fuse_pad
from tiercast.passes.fuse_resize import fuse_resize

random = np.random.default_rng(0)


def model_of(
    resize: str = 'mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"',
    scales: tuple[float, ...] = (1, 1, 2, 3),
    end: str = "y = Conv<pads=[1,1,1,1]>(r, w)",
    size: str = "8,15",
) -> ir.Model:
    return physical(
        f"""(float[1,4,4,5] x) => (float[1,6,{size}] y) {{
          r = Resize<{resize}>(x, , scales)
          {end}
        }}""",
        scales=np.array(scales, np.float32),
        w=random.standard_normal((6, 4, 3, 3)).astype(np.float32),
        one=random.standard_normal((6, 4, 1, 1)).astype(np.float32),
    )


TWO_READERS = """a = Conv<pads=[1,1,1,1]>(r, w)
b = Conv<pads=[2,2,2,2], dilations=[2,2]>(r, w)
y = Add(a, b)"""
HALF_PIXEL = 'mode="nearest", coordinate_transformation_mode="half_pixel"'


@pytest.mark.native
@pytest.mark.parametrize("resize", ["", HALF_PIXEL])
@pytest.mark.parametrize(
    ("scales", "size", "end"),
    [
        ((1, 1, 2, 3), "8,15", "y = Conv<pads=[1,1,1,1]>(r, w)"),
        ((1, 1, 1, 4), "4,20", "y = Conv<pads=[1,1,1,1]>(r, w)"),
        ((1, 1, 2, 2), "8,10", TWO_READERS),
    ],
)  # fmt: skip
def test_an_enlargement_goes_into_its_readers(
    resize: str, scales: tuple[float, ...], size: str, end: str
) -> None:
    model = model_of(*([resize] if resize else []), scales=scales, size=size, end=end)
    keeps_physical_result(model, fuse_pad, fuse_resize)
    assert "Resize2d" not in op_types(model)
    found = [attr(node, "upsample") for node in model.graph if node.op_type == "Conv2d"]
    assert found and all(factors == [int(scale) for scale in scales[2:]] for factors in found)


@pytest.mark.native
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"resize": 'mode="linear"'}, "no nearest-neighbour enlargement by whole numbers"),
        ({"scales": (1, 1, 1.5, 2), "size": "6,10"}, "no nearest-neighbour enlargement by whole numbers"),
        ({"scales": (1, 1, 0.5, 1), "size": "2,5"}, "no nearest-neighbour enlargement by whole numbers"),
        ({"resize": 'mode="nearest", nearest_mode="ceil"'}, "no nearest-neighbour enlargement"),
        ({"end": "y = Conv(r, one)"}, "is 1x1"),
        ({"end": "c = Conv<pads=[1,1,1,1]>(r, w)  p = Conv(r, one)  y = Add(c, p)"}, "is 1x1"),
        ({"end": "m = Relu(r)  y = Conv(m, one)"}, "reads it too"),
    ],
)  # fmt: skip
def test_refusals_name_the_reason(change: dict[str, object], reason: str) -> None:
    model = model_of(**change)  # type: ignore[arg-type]
    (report,) = keeps_physical_result(model, fuse_resize)
    assert not report.changed and reason in report.refused[0][1]
