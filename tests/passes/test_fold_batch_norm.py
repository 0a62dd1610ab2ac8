"""Batch norm and per-channel arithmetic end in the weights before them."""

import numpy as np
import pytest
from graphs import graph, keeps_result, op_types

from tiercast.ir.spec import check
from tiercast.passes.fold_batch_norm import fold_batch_norm

random = np.random.default_rng(0)
STATISTICS = {
    "gamma": random.standard_normal(6).astype(np.float32),
    "beta": random.standard_normal(6).astype(np.float32),
    "mean": random.standard_normal(6).astype(np.float32),
    "var": random.uniform(0.5, 2, 6).astype(np.float32),
}


def weight(*dims: int) -> np.ndarray:
    return random.standard_normal(dims).astype(np.float32)


@pytest.mark.parametrize(
    ("call", "constants"),
    [
        ("Conv(x, w)", {"w": weight(6, 6, 3, 3)}),
        ("Conv(x, w, b)", {"w": weight(6, 6, 1, 1), "b": weight(6)}),
        ("Conv<group=6>(x, w)", {"w": weight(6, 1, 3, 3)}),
        ("Conv<group=2, pads=[1,1,1,1]>(x, w)", {"w": weight(6, 3, 3, 3)}),
        ("ConvTranspose<strides=[2,2]>(x, w)", {"w": weight(6, 6, 2, 2)}),
        ("ConvTranspose<group=2>(x, w, b)", {"w": weight(6, 3, 2, 2), "b": weight(6)}),
        ("ConvTranspose<group=6>(x, w)", {"w": weight(6, 1, 2, 2)}),
    ],
)
def test_convolutions_take_batch_norm(call: str, constants: dict[str, np.ndarray]) -> None:
    model = graph(
        f"""(float[1,6,8,8] x) => (float[a,b,c,d] y) {{
          conv = {call}
          y = BatchNormalization<epsilon=0.01>(conv, gamma, beta, mean, var)
        }}""",
        **constants,
        **STATISTICS,
    )
    keeps_result(model, fold_batch_norm)
    assert op_types(model) == [call[: call.index("(") if "<" not in call else call.index("<")]]
    assert model.graph.outputs[0].name == "y"
    check(model, "simplified")


def test_gemm_takes_batch_norm() -> None:
    model = graph(
        """(float[3,5] x) => (float[3,6] y) {
          g = Gemm<alpha=0.5, beta=2.0, transB=1>(x, w, b)
          y = BatchNormalization(g, gamma, beta, mean, var)
        }""",
        w=weight(6, 5),
        b=weight(6),
        **STATISTICS,
    )
    keeps_result(model, fold_batch_norm)
    assert op_types(model) == ["Gemm"]


def test_scale_and_shift_per_channel() -> None:
    model = graph(
        """(float[1,6,8,8] x) => (float[1,6,8,8] y) {
          conv = Conv(x, w)
          a = Mul(conv, scale)
          b = Add(shift, a)
          c = Sub(one, b)
          d = Div(c, two)
          y = Relu(d)
        }""",
        w=weight(6, 6, 1, 1),
        scale=weight(6, 1, 1),
        shift=weight(1, 6, 1, 1),
        one=np.array(1.0, np.float32),
        two=np.array([2.0], np.float32),
    )
    keeps_result(model, fold_batch_norm)
    assert op_types(model) == ["Conv", "Relu"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("c = Conv(x, w)\n a = Mul(c, s)\n y = Add(a, c)", "used elsewhere"),
        ("c = Conv(x, x2)\n y = Mul(c, s)", "weights are not constant"),
    ],
)
def test_refusals_are_named(body: str, reason: str) -> None:
    model = graph(
        f"(float[6,6,1,1] x, float[6,6,1,1] x2) => (float[6,6,1,1] y) {{ {body} }}",
        w=weight(6, 6, 1, 1),
        s=weight(6, 1, 1),
    )
    report = keeps_result(model, fold_batch_norm)
    assert any(reason in why for _, why in report.refused)


def test_a_row_of_another_axis_stays() -> None:
    model = graph(
        "(float[1,6,6,6] x) => (float[1,6,6,6] y) { c = Conv(x, w)\n y = Mul(c, s) }",
        w=weight(6, 6, 1, 1),
        s=weight(6),
    )
    keeps_result(model, fold_batch_norm)
    assert op_types(model) == ["Conv", "Mul"]
