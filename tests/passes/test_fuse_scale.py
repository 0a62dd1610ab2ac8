"""Numbers that multiply a matmul's result become its scale; bias, activation and residual follow."""

import numpy as np
import pytest
from graphs import keeps_physical_result, op_types, physical

from tiercast.ops.registry import attr
from tiercast.passes.fuse_activation import fuse_activation
from tiercast.passes.fuse_residual import fuse_residual
from tiercast.passes.fuse_scale import fuse_scale

random = np.random.default_rng(0)
CONSTANTS = {
    "w": random.standard_normal((6, 10)).astype(np.float32),
    "b": random.standard_normal(10).astype(np.float32),
    "k": np.array(0.125, np.float32),
    "eight": np.array([8.0], np.float32),
}
PORTS = "(float[2,5,6] x, float[2,6,10] v, float[2,5,10] r) => (float[2,5,10] y)"


@pytest.mark.native
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("m = MatMul(x, w)\n y = Mul(m, k)", {"scale": 0.125}),
        ("m = MatMul(x, v)\n y = Div(m, eight)", {"scale": 0.125}),
        ("m = MatMul(x, w)\n a = Add(m, b)\n y = Relu(a)", {"activation": "relu"}),
        (
            "m = MatMul(x, v)\n s = Mul(k, m)\n a = Add(s, b)\n y = Sigmoid(a)",
            {"scale": 0.125, "activation": "sigmoid"},
        ),
        ("m = MatMul(x, w)\n y = Add(m, r)", {"residual_mode": "add"}),
        (
            "m = MatMul(x, v)\n a = Tanh(m)\n y = Mul(r, a)",
            {"residual_mode": "mul_after", "activation": "tanh"},
        ),
    ],
)
def test_a_matmul_takes_what_follows(body: str, expected: dict[str, object]) -> None:
    model = physical(f"{PORTS} {{ {body} }}", **CONSTANTS)
    keeps_physical_result(model, fuse_scale, fuse_activation, fuse_residual)
    assert "Pointwise" not in op_types(model)
    matmul = next(node for node in model.graph if node.op_type == "Matmul")
    assert {key: attr(matmul, key) for key in expected} == expected


@pytest.mark.native
@pytest.mark.parametrize(
    "body",
    [
        "m = MatMul(x, w)\n a = Add(m, b)\n y = Mul(a, k)",
        "m = MatMul(x, w)\n y = Div(k, m)",
        "m = MatMul(x, w)\n a = Mul(m, k)\n y = Add(a, m)",
    ],
)
def test_what_is_no_scale_stays(body: str) -> None:
    model = physical(f"{PORTS} {{ {body} }}", **CONSTANTS)
    keeps_physical_result(model, fuse_residual, fuse_scale)
    assert "Pointwise" in op_types(model)


@pytest.mark.native
@pytest.mark.parametrize(
    "body",
    [
        "c = ConvTranspose<strides=[2,2]>(i, t)\n y = LeakyRelu(c)",
        "c = InstanceNormalization(i, s, s)\n y = Relu(c)",
        "c = LayerNormalization(i, e)\n y = Sigmoid(c)",
        "c = InstanceNormalization(i, s, s)\n y = PRelu(c, slope)",
    ],
)
def test_other_nodes_with_an_epilogue(body: str) -> None:
    model = physical(
        f"(float[1,3,4,4] i) => (float[a,b,c,d] y) {{ {body} }}",
        t=random.standard_normal((3, 5, 2, 2)).astype(np.float32),
        s=np.array([1.0, 2.0, 3.0], np.float32),
        e=np.array([1.0, 2.0, 3.0, 4.0], np.float32),
        slope=np.array([[[0.1]], [[0.2]], [[0.3]]], np.float32),
    )
    (report,) = keeps_physical_result(model, fuse_activation)
    assert report.changed or "has no slope" in report.refused[0][1]
