"""Models in half precision compile and run, keep their ports' types, and round where they say so."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from graphs import graph, op_types, proto, run_onnx

from tiercast import Session, compile
from tiercast.passes.widen_halves import widen_halves


def test_an_f32_model_is_left_alone() -> None:
    model = graph("(float[1,4] x) => (float[1,4] y) { y = Relu(x) }")
    assert not widen_halves(model).applied
    assert op_types(model) == ["Relu"]


def test_ports_keep_their_types_and_all_between_is_f32() -> None:
    model = graph("(float16[1,4] x) => (float16[1,4] y) { a = Exp(x)  y = Sqrt(a) }")
    widen_halves(model)
    assert op_types(model) == ["Cast", "Exp", "Sqrt", "Cast"]
    assert [value.dtype.short_name() for node in model.graph for value in node.outputs] == [
        "f32",
        "f32",
        "f32",
        "f16",
    ]


@pytest.mark.native
def test_a_half_precision_network_is_nearer_to_exact_than_its_own_steps(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    weight = (random.standard_normal((8, 4, 3, 3)) / 6).astype(np.float16)
    bias = random.standard_normal(8).astype(np.float16)
    text = """(float16[1,4,9,9] x) => (float16[1,8,9,9] y, float16[1,8,1,1] m)
        { a = Conv<pads=[1,1,1,1]>(x, w, b)  y = HardSwish(a)  m = GlobalAveragePool(y) }"""
    model = proto(text, w=weight, b=bias)
    given = {"x": random.standard_normal((1, 4, 9, 9)).astype(np.float16)}
    found = Session(compile(model, output=tmp_path / "m.tcpkg")).run(given)
    exact = run_onnx(
        proto(text.replace("float16", "float"), w=weight.astype(np.float32), b=bias.astype(np.float32)),
        {"x": given["x"].astype(np.float32)},
    )
    for name, array in zip(("y", "m"), exact, strict=True):
        assert found[name].dtype == np.float16
        np.testing.assert_allclose(found[name], array, rtol=2**-10, atol=2**-14)  # one rounding


@pytest.mark.native
def test_a_cast_to_half_precision_rounds(tmp_path: Path) -> None:
    text = "(float[8] x) => (float[8] y) { h = Cast<to=10>(x)  y = Cast<to=1>(h) }"
    x = np.array([1.0001, 2049.0, 70000.0, -1e-8, 0.1, np.nan, 65519.0, 6e-8], np.float32)
    found = Session(compile(proto(text), output=tmp_path / "m.tcpkg")).run({"x": x})["y"]
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found, x.astype(np.float16).astype(np.float32))


@pytest.mark.native
def test_bfloat16_ports_round_to_nearest_even(tmp_path: Path) -> None:
    text = """(bfloat16[64] x) => (bfloat16[64] y)
        { three = Constant<value_float = 3.0>()  t = CastLike(three, x)  y = Mul(x, t) }"""
    x = np.random.default_rng(0).standard_normal(64).astype(ml_dtypes.bfloat16)
    found = Session(compile(proto(text), output=tmp_path / "m.tcpkg")).run({"x": x})["y"]
    np.testing.assert_array_equal(found, (x.astype(np.float32) * 3).astype(ml_dtypes.bfloat16))
