"""Activations go into their producers, and into nothing else."""

import numpy as np
import pytest
from graphs import keeps_physical_result, op_types, physical

from tiercast.ops.registry import attr
from tiercast.passes.fuse_activation import fuse_activation
from tiercast.passes.fuse_idioms import fuse_idioms
from tiercast.passes.fuse_residual import fuse_residual

random = np.random.default_rng(0)
CONSTANTS = {
    "w": random.standard_normal((8, 4, 3, 3)).astype(np.float32),
    "lo": np.array(-0.5, np.float32),
    "hi": np.array(2.0, np.float32),
    "slope": random.uniform(0, 1, (8, 1, 1)).astype(np.float32),
    "row": random.uniform(0, 1, (1, 1, 6)).astype(np.float32),
}


def model_of(body: str, outputs: str = "float[1,8,6,6] y"):
    return physical(f"(float[1,4,8,8] x) => ({outputs}) {{ c = Conv(x, w)\n {body} }}", **CONSTANTS)


@pytest.mark.native
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("y = Relu(c)", "relu"),
        ("y = Clip(c, lo, hi)", "clip"),
        ("y = Clip(c, , hi)", "clip"),
        ("y = LeakyRelu<alpha=0.2>(c)", "leaky_relu"),
        ("y = PRelu(c, slope)", "prelu"),
        ("y = Elu<alpha=0.7>(c)", "elu"),
        ("y = Sigmoid(c)", "sigmoid"),
        ("y = Tanh(c)", "tanh"),
        ("y = HardSwish(c)", "hard_swish"),
        ("y = HardSigmoid<alpha=0.3>(c)", "hard_sigmoid"),
        ("y = Gelu(c)", "gelu"),
        ('y = Gelu<approximate="tanh">(c)', "gelu_tanh"),
        ("y = Mish(c)", "mish"),
        ("y = Softplus(c)", "softplus"),
        ("s = Sigmoid(c)\n y = Mul(c, s)", "silu"),
    ],
)
def test_each_activation(body: str, kind: str) -> None:
    model = model_of(body)
    keeps_physical_result(model, fuse_idioms, fuse_activation, tolerance=2e-5)
    conv = next(node for node in model.graph if node.op_type == "Conv2d")
    assert attr(conv, "activation") == kind
    assert "Pointwise" not in op_types(model)
    assert conv.outputs[0].metadata_props["source"] == "y"


@pytest.mark.native
def test_through_a_reshape() -> None:
    model = physical(
        "(float[1,4,9] x) => (float[1,8,7] y) { c = Conv(x, w)\n y = Relu(c) }",
        w=random.standard_normal((8, 4, 3)).astype(np.float32),
    )
    keeps_physical_result(model, fuse_activation)
    assert "Pointwise" not in op_types(model)
    conv = next(node for node in model.graph if node.op_type == "Conv2d")
    assert "source" not in conv.outputs[0].metadata_props  # it is not c any more, and not y's shape


@pytest.mark.native
@pytest.mark.parametrize(
    ("body", "outputs", "reason"),
    [
        ("r = Relu(c)\n y = Add(r, c)", "float[1,8,6,6] y", "read elsewhere"),
        ("y = Relu(c)", "float[1,8,6,6] y, float[1,8,6,6] c", "read elsewhere"),
        ("r = Relu(c)\n y = Sigmoid(r)", "float[1,8,6,6] y", "has the activation relu"),
        ("y = PRelu(c, row)", "float[1,8,6,6] y", "not one per channel"),
    ],
)
def test_refusals(body: str, outputs: str, reason: str) -> None:
    model = model_of(body, outputs)
    reports = keeps_physical_result(model, fuse_activation)
    assert any(reason in why for _, why in reports[0].refused)


@pytest.mark.native
def test_not_after_a_residual_that_comes_last() -> None:
    model = physical(
        "(float[1,4,8,8] x, float[1,8,6,6] z) => (float[1,8,6,6] y)"
        "{ c = Conv(x, w)\n r = Relu(c)\n s = Add(r, z)\n y = Sigmoid(s) }",
        **CONSTANTS,
    )
    reports = keeps_physical_result(model, fuse_activation, fuse_residual, fuse_activation)
    assert any("has the activation" in why or "add_after" in why for _, why in reports[2].refused)
