"""Operators and forms that are expanded into others give what onnxruntime gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from graphs import feeds, graph, proto, run_onnx

from tiercast import Session, compile
from tiercast.errors import ModelError
from tiercast.passes.fold_constants import fold_constants
from tiercast.passes.remove_empties import remove_empties

pytestmark = pytest.mark.native

FORMS = {
    "einsum of three": """(float[2,3,4] x, float[4,5] a, float[2,5] b) => (float[3,2] y)
        { y = Einsum<equation="bij,jk,bk->ib">(x, a, b) }""",
    "einsum with an ellipsis": """(float[2,3,4] x, float[2,4,5] a) => (float[2,5,3] y)
        { y = Einsum<equation="...ij, ...jk -> ...ki">(x, a) }""",
    "einsum of a diagonal": """(float[3,3,2] x) => (float[2,3] y) { y = Einsum<equation="iij->ji">(x) }""",
    "einsum without a result": """(float[3,2] x, float[2,4] a) => (float[3,4] y)
        { y = Einsum<equation="ij,jk">(x, a) }""",
    "max pool with indices": """(float[1,3,8,9] x) => (float[1,3,4,5] y, int64[1,3,4,5] at)
        { y, at = MaxPool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,0,1]>(x) }""",
    "antialiased resize": """(float[1,2,12,9] x) => (float[1,2,5,6] y)
        { y = Resize<mode="linear", antialias=1>(x, , , sizes) }""",
    "volumetric grid": """(float[2,3,4,5,6] x, float[2,2,3,4,3] g) => (float[2,3,2,3,4] y)
        { y = GridSample<mode="linear", align_corners=1>(x, g) }""",
    "eye like": """(float[3,5] x) => (float[3,5] y) { e = EyeLike<k=1>(x)  y = Add(x, e) }""",
}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_gives_what_onnxruntime_gives(tmp_path: Path, name: str) -> None:
    constants = {"sizes": np.array([1, 2, 5, 6])} if "sizes" in FORMS[name] else {}
    model = proto(FORMS[name], opset=20, **constants)
    given = feeds(model)
    found = Session(compile(model, output=tmp_path / "m.tcpkg")).run(given)
    for output, wanted in zip(found, run_onnx(model, given), strict=True):
        np.testing.assert_allclose(found[output], wanted, rtol=1e-4, atol=1e-5)


def test_fourier_transforms_are_numpys(tmp_path: Path) -> None:
    text = """(float[2,10,3,1] x) => (float[2,6,3,2] y, float[2,10,3,2] back)
        { axis = Constant<value_int = 1>()  y = DFT<onesided=1>(x, , axis)  full = DFT(x, , axis)
          back = DFT<inverse=1>(full, , axis) }"""
    x = np.random.default_rng(0).standard_normal((2, 10, 3, 1)).astype(np.float32)
    found = Session(compile(proto(text, opset=20), output=tmp_path / "m.tcpkg")).run({"x": x})
    wanted = np.fft.rfft(x[..., 0], axis=1)
    np.testing.assert_allclose(found["y"], np.stack([wanted.real, wanted.imag], -1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["back"][..., :1], x, atol=1e-5)


def test_empty_parts_of_splits_and_concats_go() -> None:
    text = """(float[2,4] x) => (float[2,4] y)
        { sizes = Constant<value_ints = [4, 0]>()  a, b = Split<axis=1>(x, sizes)  c = Neg(a)
          y = Concat<axis=1>(c, b) }"""
    model = graph(text)
    fold_constants(model)
    remove_empties(model)
    assert "Split" not in [node.op_type for node in model.graph]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("(float[3] x, bool[3] k) => (float[N] y) { y = Compress(x, k) }", "Compress"),
        ("(float[3] x) => (int64[1,N] y) { y = NonZero(x) }", "NonZero"),
        ("(float[3] x) => (float[3] y) { y = RandomNormalLike(x) }", "RandomNormalLike"),
        ('(int8[3] x) => (int8[3] y) { y = BitShift<direction="RIGHT">(x, x) }', "BitShift"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ModelError, match=why):
        compile(proto(text, opset=20), output=tmp_path / "m.tcpkg")
