"""Activations written in arithmetic are found by what they compute."""

import numpy as np
import pytest
from graphs import keeps_physical_result, op_types, physical

from tiercast.ops.registry import attr
from tiercast.passes.fuse_idioms import fuse_idioms

NUMBERS = {
    name: np.array(value, np.float32)
    for name, value in {
        "zero": 0.0, "half": 0.5, "one": 1.0, "two": 2.0, "three": 3.0, "six": 6.0, "sixth": 1 / 6,
        "root": 2**0.5,
        "c": 0.044715, "k": (2 / np.pi) ** 0.5, "slope": 0.1, "q": 1.702, "big": 128.0, "small": -128.0,
    }.items()
}  # fmt: skip
FORMULAS = {
    "s = Sigmoid(x)\n y = Mul(x, s)": "silu i0",
    "n = Neg(x)\n e = Exp(n)\n p = Add(e, one)\n y = Div(x, p)": "silu i0",
    "a = Add(x, three)\n c1 = Clip(a, zero, six)\n m = Mul(x, c1)\n y = Div(m, six)": "hard_swish i0",
    "a = Add(x, three)\n r = Relu(a)\n m = Min(r, six)\n d = Mul(m, sixth)\n y = Mul(d, x)": "hard_swish i0",
    "h = HardSigmoid<alpha=0.16666667, beta=0.5>(x)\n y = Mul(h, x)": "hard_swish i0",
    "d = Div(x, root)\n e = Erf(d)\n p = Add(e, one)\n m = Mul(x, p)\n y = Mul(m, half)": "gelu i0",
    "d = Div(x, root)\n e = Erf(d)\n p = Add(e, one)\n h = Mul(half, x)\n y = Mul(h, p)": "gelu i0",
    "p = Pow(x, three)\n cc = Mul(p, c)\n s = Add(x, cc)\n t = Mul(s, k)\n u = Tanh(t)\n v = Add(u, one)\n"
    " w = Mul(x, v)\n y = Mul(w, half)": "gelu_tanh i0",
    "s = Softplus(x)\n t = Tanh(s)\n y = Mul(x, t)": "mish i0",
    "e = Exp(x)\n p = Add(e, one)\n y = Log(p)": "softplus i0",
    "m = Mul(x, slope)\n y = Max(x, m)": "leaky_relu i0 0.1",
    "m = Max(x, zero)\n y = Min(m, six)": "clip i0 0.0 6.0",
    "m = Max(x, small)\n y = Min(m, big)": "clip i0 -128.0 128.0",
}


@pytest.mark.native
@pytest.mark.parametrize("body", FORMULAS)
def test_found(body: str) -> None:
    model = physical(f"(float[3,64] x) => (float[3,64] y) {{ {body} }}", **NUMBERS)
    keeps_physical_result(model, fuse_idioms)
    assert op_types(model) == ["Pointwise"]
    (line,) = attr(model.graph.node(0), "program")
    op, operand, *parameters = line.split()
    expected = FORMULAS[body].split()
    assert [op, operand] == expected[:2]
    np.testing.assert_allclose(
        [float(item) for item in parameters], [float(item) for item in expected[2:]], rtol=1e-6
    )


@pytest.mark.parametrize(
    "body",
    [
        "m = Mul(x, q)\n s = Sigmoid(m)\n y = Mul(x, s)",  # quick gelu is no silu
        "s = Sigmoid(z)\n y = Mul(x, s)",
        "a = Add(x, two)\n c1 = Clip(a, zero, six)\n m = Mul(x, c1)\n y = Div(m, six)",
        "a = Add(x, one)\n y = Sub(a, one)",
    ],
)
def test_near_misses_stay(body: str) -> None:
    model = physical(f"(float[3,64] x, float[3,64] z) => (float[3,64] y) {{ {body} }}", **NUMBERS)
    report = fuse_idioms(model)
    assert not report.changed


@pytest.mark.native
def test_parts_that_are_read_elsewhere_stay() -> None:
    model = physical(
        "(float[3,64] x) => (float[3,64] y, float[3,64] s) { s = Sigmoid(x)\n y = Mul(x, s) }", **NUMBERS
    )
    keeps_physical_result(model, fuse_idioms)
    assert len(model.graph) == 2
