"""Gated convolutions are split into feature and gate, when that pays."""

import numpy as np
import pytest
from graphs import keeps_physical_result, op_types, physical

from tiercast.ops.registry import attr
from tiercast.passes.fuse_activation import fuse_activation
from tiercast.passes.fuse_gate import fuse_gate
from tiercast.passes.fuse_residual import fuse_residual

random = np.random.default_rng(0)


def model_of(channels: int, end: str = "y = Mul(e, s)", conv: str = "Conv<pads=[1,1,1,1]>(x, w, b)"):
    return physical(
        f"""(float[1,4,6,6] x) => (float[1,{channels},6,6] y) {{
          c = {conv}
          f, g = Split<axis=1, num_outputs=2>(c)
          e = Elu(f)
          s = Sigmoid(g)
          {end}
        }}""",
        w=random.standard_normal((2 * channels, 4, 3, 3)).astype(np.float32),
        b=random.standard_normal(2 * channels).astype(np.float32),
    )


@pytest.mark.native
@pytest.mark.parametrize("end", ["y = Mul(e, s)", "y = Mul(s, e)", "y = Mul(f, s)"])
def test_a_gated_convolution_is_two_convolutions(end: str) -> None:
    model = model_of(8, end)
    keeps_physical_result(model, fuse_gate, fuse_activation, fuse_residual)
    assert [kind for kind in op_types(model) if kind not in ("Copy", "Reshape")] == ["Conv2d", "Conv2d"]
    last = [node for node in model.graph if node.op_type == "Conv2d"][1]
    assert attr(last, "residual_mode") == "mul_after"
    assert last.outputs[0].metadata_props["source"] == "y"


@pytest.mark.native
def test_odd_halves_are_refused() -> None:
    model = model_of(6)
    (report,) = keeps_physical_result(model, fuse_gate)
    assert "a half of 6 channels is no multiple of 8" in report.refused[0][1]


@pytest.mark.native
def test_halves_that_do_not_meet_in_a_product_stay_together() -> None:
    model = model_of(8, "y = Add(e, s)")
    (report,) = keeps_physical_result(model, fuse_gate)
    assert not report.changed
    assert op_types(model).count("Conv2d") == 1
