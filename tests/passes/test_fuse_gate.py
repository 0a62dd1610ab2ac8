"""Gated convolutions become one Conv2d, activations and product included."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import keeps_physical_result, op_types, physical

from tiercast.errors import GraphError
from tiercast.ir.slots import set_attribute
from tiercast.ops.convolution import gate_params
from tiercast.ops.registry import attr, op_of
from tiercast.passes.fuse_activation import fuse_activation
from tiercast.passes.fuse_gate import fuse_gate
from tiercast.passes.fuse_residual import fuse_residual

random = np.random.default_rng(0)


def model_of(
    channels: int,
    end: str = "y = Mul(e, s)",
    conv: str = "Conv<pads=[1,1,1,1]>(x, w, b)",
    gate: str = "Sigmoid(g)",
) -> ir.Model:
    return physical(
        f"""(float[1,4,6,6] x) => (float[1,{channels},6,6] y) {{
          c = {conv}
          f, g = Split<axis=1, num_outputs=2>(c)
          e = Elu(f)
          s = {gate}
          {end}
        }}""",
        w=random.standard_normal((2 * channels, 4, 3, 3)).astype(np.float32),
        b=random.standard_normal(2 * channels).astype(np.float32),
        slope=random.standard_normal((channels, 1, 1)).astype(np.float32),
        other=random.standard_normal((1, channels, 1, 1)).astype(np.float32),
    )


def convolutions(model: ir.Model) -> list[ir.Node]:
    return [node for node in model.graph if node.op_type == "Conv2d"]


@pytest.mark.native
@pytest.mark.parametrize("channels", [1, 6, 8, 19])
@pytest.mark.parametrize(
    "end", ["y = Mul(e, s)", "y = Mul(s, e)", "y = Mul(f, s)", "y = Mul(e, g)", "y = Mul(f, g)"]
)
def test_a_gated_convolution_is_one(channels: int, end: str) -> None:
    model = model_of(channels, end)
    keeps_physical_result(model, fuse_gate)
    assert [kind for kind in op_types(model) if kind not in ("Copy", "Reshape")] == ["Conv2d"]
    (made,) = convolutions(model)
    assert attr(made, "gated") == 1
    assert (attr(made, "activation") == "elu") == ("e" in end)
    assert (attr(made, "gate_activation") == "sigmoid") == ("s" in end)
    assert made.outputs[0].metadata_props["source"] == "y"


@pytest.mark.native
@pytest.mark.parametrize("end", ["m = Mul(e, s)  y = Relu(m)", "m = Mul(e, s)  y = Add(m, other)"])
def test_nothing_more_goes_into_a_gated_convolution(end: str) -> None:
    model = model_of(8, end)
    reports = keeps_physical_result(model, fuse_gate, fuse_activation, fuse_residual)
    assert any("it is gated" in reason for report in reports for _, reason in report.refused)


@pytest.mark.native
def test_slopes_are_refused() -> None:
    model = model_of(8, gate="PRelu(g, slope)")
    (report,) = keeps_physical_result(model, fuse_gate)
    assert "a half has a slope for each channel" in report.refused[0][1]


@pytest.mark.native
def test_halves_that_do_not_meet_in_a_product_stay_together() -> None:
    model = model_of(8, "y = Add(e, s)")
    (report,) = keeps_physical_result(model, fuse_gate)
    assert not report.changed
    assert op_types(model).count("Conv2d") == 1


def test_a_gate_goes_with_one_group_only() -> None:
    model = model_of(8, conv="Conv<pads=[1,1,1,1]>(x, w, b)")
    (node,) = convolutions(model)
    set_attribute(node, "gated", 1)
    assert op_of(node).infer(node)[0][1][-1] == 8
    node.resize_inputs(5)
    node.replace_input_with(4, node.outputs[0])
    with pytest.raises(GraphError, match="no slope and no residual"):
        gate_params(node)
