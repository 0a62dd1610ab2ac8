"""Operators and forms that are expanded into others give what onnxruntime gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from graphs import feeds, graph, proto, run_onnx

from tests.tiny_model import with_empty_ports
from tiercast import Session, compile
from tiercast.errors import ModelError, UsageError
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
    "max pool with indices, windows that end behind": """(float[2,3,6,7] x)
        => (float[2,3,3,4] y, int64[2,3,3,4] at)
        { y, at = MaxPool<kernel_shape=[3,2], strides=[2,2], ceil_mode=1>(x) }""",
    "max pool of lines with indices": """(float[2,3,9] x) => (float[2,3,4] y, int64[2,3,4] at)
        { y, at = MaxPool<kernel_shape=[3], strides=[2], pads=[1,0], dilations=[1]>(x) }""",
    "resize of three axes": """(float[1,2,3,4,5] x) => (float[1,2,6,6,8] y)
        { y = Resize<mode="linear", coordinate_transformation_mode="half_pixel">(x, , , bigger) }""",
    "antialiased resize": """(float[1,2,12,9] x) => (float[1,2,5,6] y)
        { y = Resize<mode="linear", antialias=1>(x, , , sizes) }""",
    "crop beyond the image": """(float[1,2,8,9] x) => (float[1,2,6,7] y)
        { y = Resize<coordinate_transformation_mode="tf_crop_and_resize", mode="linear",
                     extrapolation_value=2.5>(x, roi, , crop) }""",
    "volumetric grid": """(float[2,3,4,5,6] x, float[2,2,3,4,3] g) => (float[2,3,2,3,4] y)
        { y = GridSample<mode="linear", align_corners=1>(x, g) }""",
    "volumetric grid, border": """(float[2,3,4,5,6] x, float[2,1,3,4,3] g) => (float[2,3,1,3,4] y)
        { two = Constant<value_float=2.0>()  wide = Mul(g, two)
          y = GridSample<mode="linear", padding_mode="border">(x, wide) }""",
    "3-D convolution": """(float[2,4,5,6,7] x) => (float[2,6,2,3,8] y)
        { y = Conv<group=2, strides=[2,2,1], pads=[1,0,2,0,1,1], dilations=[1,2,1]>(x, volume, b6) }""",
    "3-D convolution of patches": """(float[2,4,6,6,6] x) => (float[2,6,3,2,2] y)
        { y = Conv<strides=[2,3,3]>(x, patch) }""",
    "3-D depthwise convolution": """(float[2,4,5,6,7] x) => (float[2,4,5,6,4] y)
        { y = Conv<group=4, pads=[1,1,1,1,1,1], strides=[1,1,2]>(x, apart) }""",
    "3-D pools": """(float[2,3,5,6,7] x) => (float[2,3,3,3,7] y, float[2,3,3,3,4] z)
        { y = MaxPool<kernel_shape=[3,2,3], strides=[2,2,1], pads=[1,0,1,1,0,1]>(x)
          z = AveragePool<kernel_shape=[2,2,3], strides=[2,2,2], ceil_mode=1, pads=[0,0,1,0,0,1]>(x) }""",
    "convolution by weights of the model's making": """(float[2,4,7,8] x, float[6,2,3,2] w, float[6] b)
        => (float[2,6,4,8] y)
        { y = Conv<group=2, strides=[2,1], pads=[1,1,1,1], dilations=[1,2]>(x, w, b) }""",
    "1x1 convolution by weights of the model's making": """(float[2,4,5,6] x, float[3,4,1,1] w)
        => (float[2,3,5,6] y) { y = Conv(x, w) }""",
    "scatter of rows, the last of two counts": """(float[6,3] x, float[4,3] u) => (float[6,3] y)
        { at = Constant<value_ints=[1,2,-1,1]>()  col = Constant<value_ints=[4,1]>()
          i = Reshape(at, col)  y = ScatterND(x, i, u) }""",
    "scatter of elements": """(float[6,3] x, float[2,2] u) => (float[6,3] y)
        { at = Constant<value_ints=[1,2,5,-1,0,0,3,1]>()  dims = Constant<value_ints=[2,2,2]>()
          i = Reshape(at, dims)  y = ScatterND(x, i, u) }""",
    "scatter that adds": """(float[6,3] x, float[4,3] u) => (float[6,3] y, float[6,3] z)
        { at = Constant<value_ints=[1,2,-1,1]>()  col = Constant<value_ints=[4,1]>()
          i = Reshape(at, col)  y = ScatterND<reduction="add">(x, i, u)
          z = ScatterND<reduction="max">(x, i, u) }""",
    "scatter at computed places": """(float[6,3] x, float[2,3] u) => (float[6,3] y)
        { first = Constant<value_ints=[0]>()  two = Constant<value_ints=[2]>()
          one = Constant<value_ints=[1]>()
          col = Constant<value_ints=[2,1]>()  rows = Slice(u, first, one, first)
          keys = Slice(rows, first, two, one)  order = Reshape(keys, col)
          big = Constant<value_float=0.0>()  at = Greater(order, big)  turned = Cast<to=7>(at)
          pair = Constant<value_ints=[3,-1]>()  base = Reshape(pair, col)  i = Add(turned, base)
          y = ScatterND(x, i, u) }""",
    "max pool of doubles": """(float[1,1,4,4] x) => (double[1,1,2,2] y, int64[1,1,2,2] at)
        { d = Cast<to=11>(x)  y, at = MaxPool<kernel_shape=[2,2], strides=[2,2]>(d) }""",
    "compress with a known condition": """(float[3,4] x) => (float[3,2] y, float[2] z)
        { k = Constant<value_ints = [0, 1, 0, 1]>()  b = Cast<to=9>(k)
          y = Compress<axis=1>(x, b)  z = Compress(x, b) }""",
    "transpose of nine axes": """(float[6,4,12] x) => (float[12,12,2] y)
        { a = Constant<value_ints=[2,3,1,2,2,1,2,3,2]>()  b = Constant<value_ints=[12,12,2]>()
          s = Reshape(x, a)  t = Transpose<perm=[8,0,7,2,3,5,1,4,6]>(s)  y = Reshape(t, b) }""",
    "eye like": """(float[3,5] x) => (float[3,5] y) { e = EyeLike<k=1>(x)  y = Add(x, e) }""",
}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_gives_what_onnxruntime_gives(tmp_path: Path, name: str) -> None:
    known = {
        "sizes": np.array([1, 2, 5, 6]),
        "bigger": np.array([1, 2, 6, 6, 8]),
        "crop": np.array([1, 2, 6, 7]),
        "roi": np.array([0, 0, -0.3, 0.4, 1, 1, 0.8, 1.25], np.float32),
    }
    random = np.random.default_rng(0)
    for key, dims in {
        "volume": (6, 2, 3, 2, 3),
        "b6": (6,),
        "patch": (6, 4, 2, 3, 3),
        "apart": (4, 1, 3, 3, 3),
    }.items():
        known[key] = random.standard_normal(dims).astype(np.float32)
    constants = {key: array for key, array in known.items() if f", {key}" in FORMS[name]}
    model = proto(FORMS[name], opset=20, **constants)
    given = feeds(model)
    found = Session(compile(model, output=tmp_path / "m.tcpkg")).run(given)
    for output, wanted in zip(found, run_onnx(model, given), strict=True):
        np.testing.assert_allclose(found[output], wanted, rtol=1e-4, atol=1e-5)


CELLS = {
    "hard sigmoid both ways": ("LSTM", 2, ["X", "W", "R", "B"], '''direction="bidirectional",
        activations=["HardSigmoid","Tanh","Tanh","HardSigmoid","Relu","Softsign"],
        activation_alpha=[0.3, 0.25], activation_beta=[0.4, 0.6]'''),
    "lengths, clip and peepholes": ("LSTM", 1, ["X", "W", "R", "B", "n", "h", "c", "P"], 'clip=0.5'),
    "backwards with lengths": ("GRU", 1, ["X", "W", "R", "B", "n", "h"], 'direction="reverse"'),
    "reset before, other functions": ("GRU", 1, ["X", "W", "R", "B"],
        'linear_before_reset=1, activations=["Softsign","ScaledTanh"], activation_alpha=[0.5], '
        "activation_beta=[0.7]"),
    "leaky": ("RNN", 1, ["X", "W", "R", "", "n"], 'activations=["LeakyRelu"], activation_alpha=[0.1]'),
    "leaky without lengths": ("RNN", 1, ["X", "W", "R"], 'activations=["Affine"], activation_alpha=[0.1]'),
}  # fmt: skip


@pytest.mark.parametrize("name", CELLS)
def test_unusual_recurrent_cells_give_what_onnxruntime_gives(tmp_path: Path, name: str) -> None:
    cell, sides, operands, attributes = CELLS[name]
    gates, hidden, random = {"LSTM": 4, "GRU": 3, "RNN": 1}[cell], 3, np.random.default_rng(1)
    shapes = {
        "W": (sides, gates * hidden, 4),
        "R": (sides, gates * hidden, hidden),
        "B": (sides, 2 * gates * hidden),
        "P": (sides, 3 * hidden),
    }
    weights = {
        key: random.standard_normal(dims).astype(np.float32)
        for key, dims in shapes.items()
        if key in operands
    }
    ports = {"X": "float[5,2,4]", "n": "int32[2]", "h": f"float[{sides},2,3]", "c": f"float[{sides},2,3]"}
    given = ", ".join(f"{kind} {key}" for key, kind in ports.items() if key in operands)
    states = ["h1", "c1"] if cell == "LSTM" else ["h1"]
    results = [f"float[5,{sides},2,3] y", *(f"float[{sides},2,3] {state}" for state in states)]
    text = f"""({given}) => ({", ".join(results)})
        {{ {", ".join(["y", *states])} = {cell}<hidden_size=3, {attributes}>({", ".join(operands)}) }}"""
    model = proto(text, opset=20, **weights)
    fed = {**feeds(model), **({"n": np.array([3, 5], np.int32)} if "n" in operands else {})}
    found = Session(compile(model, output=tmp_path / "m.tcpkg")).run(fed)
    for output, wanted in zip(found, run_onnx(model, fed), strict=True):
        np.testing.assert_allclose(found[output], wanted, rtol=1e-4, atol=1e-5)


def test_fourier_transforms_are_numpys(tmp_path: Path) -> None:
    text = """(float[2,10,3,1] x) => (float[2,6,3,2] y, float[2,10,3,2] back, float[2,10,3,1] real)
        { axis = Constant<value_int = 1>()  y = DFT<onesided=1>(x, , axis)  full = DFT(x, , axis)
          back = DFT<inverse=1>(full, , axis)  n = Constant<value_int = 10>()
          real = DFT<inverse=1, onesided=1>(y, n, axis) }"""
    x = np.random.default_rng(0).standard_normal((2, 10, 3, 1)).astype(np.float32)
    found = Session(compile(proto(text, opset=20), output=tmp_path / "m.tcpkg")).run({"x": x})
    wanted = np.fft.rfft(x[..., 0], axis=1)
    np.testing.assert_allclose(found["y"], np.stack([wanted.real, wanted.imag], -1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["back"][..., :1], x, atol=1e-5)
    np.testing.assert_allclose(found["real"], x, atol=1e-5)


@pytest.mark.parametrize("sides", [0, 1])
def test_short_time_fourier_transforms_are_numpys(tmp_path: Path, sides: int) -> None:
    text = f"""(float[2,40,1] x) => (float[2,F,B,2] y)
        {{ step = Constant<value_int = 5>()  y = STFT<onesided={sides}>(x, step, window) }}"""
    x, window = np.random.default_rng(0).standard_normal((2, 40, 1)).astype(np.float32), np.hanning(12)
    model = proto(text, opset=20, window=window.astype(np.float32))
    (y,) = Session(compile(model, output=tmp_path / "m.tcpkg")).run({"x": x}).values()
    frames = np.stack([x[:, at : at + 12, 0] * window for at in range(0, 29, 5)], 1)
    wanted = (np.fft.rfft if sides else np.fft.fft)(frames)
    np.testing.assert_allclose(y, np.stack([wanted.real, wanted.imag], -1), rtol=1e-4, atol=1e-5)


def test_empty_parts_of_splits_and_concats_go() -> None:
    text = """(float[2,4] x) => (float[2,4] y)
        { sizes = Constant<value_ints = [4, 0]>()  a, b = Split<axis=1>(x, sizes)  c = Neg(a)
          y = Concat<axis=1>(c, b) }"""
    model = graph(text)
    fold_constants(model)
    remove_empties(model)
    assert "Split" not in [node.op_type for node in model.graph]


def test_empty_values_are_constants(tmp_path: Path) -> None:
    feeds = {"x": np.array([[1, -2, 3], [4, 5, -6]], np.float32), "none": np.zeros((4, 0), np.float32)}
    found = Session(compile(with_empty_ports(), output=tmp_path / "m.tcpkg")).run(feeds)
    np.testing.assert_array_equal(found["y"], np.maximum(feeds["x"], 0))
    np.testing.assert_array_equal(found["zeros"], np.zeros((4, 1)))
    assert found["nothing"].shape == (0, 3) and found["nothing"].dtype == np.float32


@pytest.mark.parametrize("kind", ["float", "int32", "uint8"])
def test_reductions_of_nothing(tmp_path: Path, kind: str) -> None:
    names = ["Sum", "Prod", "Max", "Min", "SumSquare", "L1"]
    names = names[2:4] if kind == "uint8" else names
    outputs = ", ".join(f"{kind}[2,4] {name}" for name in names)
    body = " ".join(f"{name} = Reduce{name}<keepdims=0>(x, axis)" for name in names)
    text = f"{{ axis = Constant<value_ints=[1]>() {body} }}"
    model = proto(f"({kind}[2,0,4] x) => ({outputs}) {text}", opset=20)
    x = np.zeros((2, 0, 4), {"float": np.float32}.get(kind, kind))
    found = Session(compile(model, output=tmp_path / "m.tcpkg")).run({"x": x})
    least, most = (-np.inf, np.inf) if kind == "float" else (np.iinfo(kind).min, np.iinfo(kind).max)
    wanted = {"Sum": 0, "Prod": 1, "Max": least, "Min": most, "SumSquare": 0, "L1": 0}
    for name, array in found.items():
        assert array.dtype == x.dtype
        np.testing.assert_array_equal(array, np.full((2, 4), wanted[name]))


def test_a_dimension_of_the_user_may_not_be_empty(tmp_path: Path) -> None:
    model = proto("(float[N,3] x) => (float[N,3] y) { y = Relu(x) }", opset=20)
    with pytest.raises(UsageError, match="dimension below 1"):
        compile(model, output=tmp_path / "m.tcpkg", inputs={"x": (0, 3)})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("(float[3] x, bool[3] k) => (float[N] y) { y = Compress(x, k) }", "Compress"),
        ("(float[3] x) => (int64[1,N] y) { y = NonZero(x) }", "NonZero"),
        ("(float[3] x) => (float[3] y) { y = RandomNormalLike(x) }", "RandomNormalLike"),
        ("(float[1,2,1,2,1,2,1,2,3] x) => (float[1,2,1,2,1,2,1,2,3] y) { y = Neg(x) }", "9 axes"),
        (
            """(float[1,1,3,3,3] x, float[1,2,2,2,3] g) => (float[1,1,2,2,2] y)
            { y = GridSample<mode="linear", padding_mode="reflection">(x, g) }""",
            "'reflection' of volumes",
        ),
        (
            """(float[1,1,2,2] x, int64[1,1,2,2] i) => (float[1,1,5,5] y)
            { s = Constant<value_ints=[1,1,5,5]>()
              y = MaxUnpool<kernel_shape=[2,2], strides=[2,2]>(x, i, s) }""",
            "output_shape is given",
        ),
        ('(int8[3] x) => (int8[3] y) { y = BitShift<direction="RIGHT">(x, x) }', "BitShift"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ModelError, match=why):
        compile(proto(text, opset=20), output=tmp_path / "m.tcpkg")
