"""Sums and products with another value go into convolutions and matmuls."""

import numpy as np
import pytest
from graphs import keeps_physical_result, op_types, physical

from tiercast.ops.registry import attr
from tiercast.passes.fuse_activation import fuse_activation
from tiercast.passes.fuse_residual import fuse_residual

random = np.random.default_rng(0)
W = {
    "w": random.standard_normal((8, 8, 3, 3)).astype(np.float32),
    "v": random.standard_normal((8, 8, 1, 1)).astype(np.float32),
    "row": random.standard_normal((8, 1, 1)).astype(np.float32),
    "column": random.standard_normal((1, 6, 1)).astype(np.float32),
}
SIGNATURE = (
    "(float[1,8,6,6] x, float[1,8,6,6] z, float[1,8,1,1] g) => ({}) {{ c = Conv<pads=[1,1,1,1]>(x, w)\n {} }}"
)


def model_of(body: str, outputs: str = "float[1,8,6,6] y"):
    return physical(SIGNATURE.format(outputs, body), **W)


@pytest.mark.native
@pytest.mark.parametrize(
    ("body", "mode", "activation"),
    [
        ("y = Add(c, x)", "add", "none"),
        ("y = Add(z, c)", "add", "none"),
        ("s = Add(c, x)\n y = Relu(s)", "add", "relu"),
        ("r = Relu(c)\n y = Add(r, x)", "add_after", "relu"),
        ("r = Sigmoid(c)\n y = Mul(x, r)", "mul_after", "sigmoid"),
        ("y = Mul(c, z)", "mul_after", "none"),
    ],
)
def test_modes(body: str, mode: str, activation: str) -> None:
    model = model_of(body)
    keeps_physical_result(model, fuse_activation, fuse_residual)
    conv = next(node for node in model.graph if node.op_type == "Conv2d")
    assert (attr(conv, "residual_mode"), attr(conv, "activation")) == (mode, activation)
    assert "Pointwise" not in op_types(model)


@pytest.mark.native
def test_of_two_convolutions_the_later_one_takes_the_sum() -> None:
    model = model_of("d = Conv(z, v)\n y = Add(c, d)")
    keeps_physical_result(model, fuse_residual)
    convs = [node for node in model.graph if node.op_type == "Conv2d"]
    assert [attr(node, "residual_mode") for node in convs] == ["none", "add"]
    assert convs[1].inputs[4] is convs[0].outputs[0]


@pytest.mark.native
def test_a_later_operand_moves_the_convolution_down() -> None:
    model = model_of("d = Sin(z)\n e = Cos(d)\n y = Add(c, e)")
    keeps_physical_result(model, fuse_residual)
    conv = next(node for node in model.graph if node.op_type == "Conv2d")
    assert attr(conv, "residual_mode") == "add"


@pytest.mark.native
def test_a_constant_row_becomes_the_bias() -> None:
    model = model_of("s = Add(c, row)\n y = Relu(s)")
    keeps_physical_result(model, fuse_activation, fuse_residual)
    conv = next(node for node in model.graph if node.op_type == "Conv2d")
    assert (attr(conv, "residual_mode"), attr(conv, "activation")) == ("none", "relu")
    assert conv.inputs[2] is not None
    assert "Pointwise" not in op_types(model)


@pytest.mark.native
@pytest.mark.parametrize(
    ("body", "outputs", "reason"),
    [
        ("y = Mul(c, g)", "float[1,8,6,6] y", "the other operand's shape"),
        ("y = Add(c, column)", "float[1,8,6,6] y", "the other operand's shape"),
        ("y = Add(c, x)", "float[1,8,6,6] y, float[1,8,6,6] c", "read elsewhere"),
        ("a = Add(c, x)\n y = Add(a, z)", "float[1,8,6,6] y", "has a residual already"),
    ],
)
def test_refusals(body: str, outputs: str, reason: str) -> None:
    model = model_of(body, outputs)
    reports = keeps_physical_result(model, fuse_residual)
    assert any(reason in why for _, why in reports[0].refused), reports[0].refused


@pytest.mark.native
def test_a_broadcast_result_is_no_residual() -> None:
    model = physical(
        "(float[1,8,1,1] x, float[1,8,6,6] z) => (float[1,8,6,6] y)"
        "{ c = Conv(x, v)\n d = Conv(z, v)\n e = Sin(d)\n y = Add(c, e) }",
        **W,
    )
    reports = keeps_physical_result(model, fuse_residual)
    assert any("broadcasts" in why for _, why in reports[0].refused)


@pytest.mark.native
def test_normalisation_takes_the_sum_and_its_activation() -> None:
    ones = {"scale": np.ones(8, np.float32), "bias": np.zeros(8, np.float32)}
    text = """(float[1,8,6,6] x, float[1,8,6,6] z) => (float[1,8,6,6] y) {
        n = InstanceNormalization(x, scale, bias)
        s = Add(z, n)
        y = LeakyRelu<alpha=0.2>(s) }"""
    model = physical(text, **ones)
    keeps_physical_result(model, fuse_activation, fuse_residual)
    assert "Pointwise" not in op_types(model)
    norm = next(node for node in model.graph if node.op_type == "ChannelNorm")
    assert (attr(norm, "residual_mode"), attr(norm, "activation")) == ("add", "leaky_relu")
