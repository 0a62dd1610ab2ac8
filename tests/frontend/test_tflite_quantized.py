"""Quantized TFLite operators, int8 and uint8: within one step of LiteRT, through the runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tflite

from tests.frontend.tflite_writer import KINDS, Graph, write
from tiercast.errors import ModelError
from tiercast.frontend import load, reference
from tiercast.package.file import write_package
from tiercast.pipeline import compile, compile_plan
from tiercast.session import Session

SAME = tflite.Padding.SAME
ACT = tflite.ActivationFunctionType
SHARE = 0.999  # of elements that may be no further than one step from LiteRT's
DIMS = (1, 8, 8, 16)


class Model:
    """A graph of one operator whose tensors are all of one integer type."""

    def __init__(self, kind: Any) -> None:
        self.graph = Graph()
        self.kind = np.dtype(kind)
        self.random = np.random.default_rng(1)
        self.shift = 128 if kind is np.uint8 else 0

    def input(self, dims: tuple[int, ...] = DIMS, scale: float = 0.02, zero: int = 5) -> int:
        name = f"x{len(self.graph.inputs)}"
        zero += self.shift
        return self.graph.input(name, dims, KINDS[self.kind], scales=[scale], zeros=[zero])

    def output(self, scale: float = 0.05, zero: int = -9) -> int:
        return self.graph.result("y", (1,), KINDS[self.kind], scales=[scale], zeros=[zero + self.shift])

    def weight(self, dims: tuple[int, ...], axis: int | None = 0) -> tuple[int, np.ndarray]:
        """Symmetric and per channel for int8; for uint8, as it was, per tensor with a zero point."""
        if self.kind == np.uint8:
            data = self.random.integers(1, 256, dims).astype(np.uint8)
            return self.graph.constant(data, scales=[0.004], zeros=[120]), np.array([0.004])
        data = self.random.integers(-127, 128, dims).astype(np.int8)
        scales = self.random.uniform(0.002, 0.006, 1 if axis is None else dims[axis])
        return self.graph.constant(data, scales=scales, axis=axis or 0), scales

    def bias(self, scales: np.ndarray, count: int) -> int:
        wide = np.broadcast_to(scales * 0.02, (count,)) if self.kind == np.int8 else scales * 0.02
        return self.graph.constant(self.random.integers(-4000, 4000, count).astype(np.int32), scales=wide)

    def ints(self, *numbers: Any) -> int:
        return self.graph.constant(np.array(numbers, np.int32))

    def feeds(self) -> dict[str, np.ndarray]:
        info = np.iinfo(self.kind)
        ports = [self.graph.tensors[index] for index in self.graph.inputs]
        return {
            port["name"]: self.random.integers(info.min, info.max + 1, port["shape"]).astype(self.kind)
            for port in ports
        }


def steps_that_equal_litert(data: bytes, feeds: dict[str, np.ndarray], folder: Path) -> list[str]:
    """The ops of the model's plan, whose one output was found to be LiteRT's, integer for integer."""
    plan = compile_plan(data).plan
    (got,) = Session(write_package(plan, folder / "m.tcpkg")).run(feeds).values()
    np.testing.assert_array_equal(got, reference(data)[1](feeds)[0])
    return [step.op for step in plan.steps]


def convolution(kind: str, kernel: int, **options: Any) -> Callable[[Model], None]:
    def build(m: Model) -> None:
        depthwise = kind == "DEPTHWISE_CONV_2D"
        dims = (1, kernel, kernel, 16) if depthwise else (24, kernel, kernel, 16)
        weight, scales = m.weight(dims, 3 if depthwise else 0)
        inputs = [m.input(), weight, m.bias(scales, dims[3] if depthwise else dims[0])]
        table = "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions"
        chosen = {"StrideH": 1, "StrideW": 1, "Padding": SAME, **options}
        chosen |= {"DepthMultiplier": 1} if depthwise else {}
        m.graph.op(kind, inputs, [m.output()], table, **chosen)

    return build


def fully_connected(m: Model) -> None:
    weight, scales = m.weight((20, 32), None)
    inputs = [m.input((6, 32)), weight, m.bias(scales, 20)]
    m.graph.op("FULLY_CONNECTED", inputs, [m.output()], "FullyConnectedOptions")


def transpose_conv(m: Model) -> None:
    weight, _ = m.weight((8, 2, 2, 16), 0)
    inputs = [m.ints(1, 16, 16, 8), weight, m.input()]
    m.graph.op(
        "TRANSPOSE_CONV", inputs, [m.output()], "TransposeConvOptions", StrideH=2, StrideW=2, Padding=SAME
    )


def two(kind: str, table: str, scale: float = 0.05, **options: Any) -> Callable[[Model], None]:
    def build(m: Model) -> None:
        inputs = [m.input(), m.input(DIMS, 0.03, -20)]
        m.graph.op(kind, inputs, [m.output(scale)], table, **options)

    return build


def one(
    kind: str, table: str = "", scale: float = 0.02, zero: int = 5, **options: Any
) -> Callable[[Model], None]:
    def build(m: Model) -> None:
        m.graph.op(kind, [m.input()], [m.output(scale, zero)], table, **options)

    return build


def mean(m: Model) -> None:
    m.graph.op("MEAN", [m.input(), m.ints(1, 2)], [m.output(0.01, 3)], "ReducerOptions", KeepDims=True)


def concatenation(m: Model) -> None:
    """LiteRT joins int8 pieces of the result's scale only, uint8 ones of any."""
    other = m.input() if m.kind == np.int8 else m.input(DIMS, 0.03, -20)
    m.graph.op("CONCATENATION", [m.input(), other], [m.output(0.02, 5)], "ConcatenationOptions", Axis=3)


def resize(m: Model) -> None:
    m.graph.op("RESIZE_BILINEAR", [m.input(), m.ints(16, 16)], [m.output(0.02, 5)], "ResizeBilinearOptions")


def pad(m: Model) -> None:
    table = m.graph.constant(np.array([[0, 0], [1, 2], [2, 1], [0, 0]], np.int32))
    m.graph.op("PAD", [m.input(), table], [m.output(0.02, 5)], "PadOptions")


def reshape(m: Model) -> None:
    m.graph.op("RESHAPE", [m.input(), m.ints(1, -1)], [m.output(0.02, 5)], "ReshapeOptions")


CASES: dict[str, Callable[[Model], None]] = {
    "conv-1x1": convolution("CONV_2D", 1),
    "conv-3x3-relu6": convolution("CONV_2D", 3, FusedActivationFunction=ACT.RELU6),
    "depthwise": convolution("DEPTHWISE_CONV_2D", 3),
    "depthwise-stride-relu": convolution(
        "DEPTHWISE_CONV_2D", 5, StrideH=2, StrideW=2, FusedActivationFunction=ACT.RELU
    ),
    "fully-connected": fully_connected,
    "transpose-conv": transpose_conv,
    "add": two("ADD", "AddOptions"),
    "add-relu": two("ADD", "AddOptions", FusedActivationFunction=ACT.RELU),
    "sub": two("SUB", "SubOptions"),
    "mul": two("MUL", "MulOptions", scale=0.1),
    "concatenation": concatenation,
    "max-pool": one(
        "MAX_POOL_2D", "Pool2DOptions", StrideH=2, StrideW=2, FilterHeight=2, FilterWidth=2, Padding=SAME
    ),
    "average-pool": one(
        "AVERAGE_POOL_2D", "Pool2DOptions", StrideH=2, StrideW=2, FilterHeight=3, FilterWidth=3, Padding=SAME
    ),
    "logistic": one("LOGISTIC", scale=1 / 256, zero=-128),
    "tanh": one("TANH", scale=1 / 128, zero=0),
    "hard-swish": one("HARD_SWISH", scale=0.02, zero=-100),
    "leaky-relu": one("LEAKY_RELU", "LeakyReluOptions", zero=-80, Alpha=0.2),
    "relu": one("RELU", scale=0.02, zero=-60),
    "softmax": one("SOFTMAX", "SoftmaxOptions", scale=1 / 256, zero=-128, Beta=1.0),
    "quantize": one("QUANTIZE", scale=0.03, zero=-3),
    "mean": mean,
    "resize-bilinear": resize,
    "pad": pad,
    "reshape": reshape,
}


@pytest.mark.native
@pytest.mark.parametrize("kind", [np.int8, np.uint8], ids=["int8", "uint8"])
@pytest.mark.parametrize("name", CASES)
def test_a_quantized_operator_is_within_one_step_of_litert(name: str, kind: Any, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    model = Model(kind)
    CASES[name](model)
    data, feeds = write(model.graph), model.feeds()
    (expected,) = reference(data)[1](feeds)
    (got,) = Session(compile(data, output=tmp_path / "m.tcpkg")).run(feeds).values()
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
    assert len(np.unique(expected)) > 10
    assert np.mean(np.abs(got.astype(int) - expected.astype(int)) <= 1) >= SHARE


@pytest.mark.parametrize("seed", range(4))
def test_hard_swish_gives_the_very_integers_of_litert(seed: int) -> None:
    """In fixed point of 16 bits, whatever the scales."""
    pytest.importorskip("ai_edge_litert")
    random = np.random.default_rng(seed)
    graph = Graph()
    ports = [(random.uniform(0.005, 0.15), int(random.integers(-60, 60))) for _ in range(2)]
    x = graph.input("x", (1, 256), "INT8", scales=[ports[0][0]], zeros=[ports[0][1]])
    y = graph.result("y", (1, 256), "INT8", scales=[ports[1][0]], zeros=[ports[1][1]])
    graph.op("HARD_SWISH", [x], [y])
    data, every = write(graph), np.arange(-128, 128).astype(np.int8)[None]
    got = reference(load(data))[1]({"x": every})[0]
    np.testing.assert_array_equal(got, reference(data)[1]({"x": every})[0])


@pytest.mark.native
@pytest.mark.parametrize("kind", [np.int8, np.uint8], ids=["int8", "uint8"])
@pytest.mark.parametrize(("kernel", "stride"), [((2, 2), 2), ((3, 3), 1), ((8, 8), 1)])
def test_an_average_pool_gives_the_very_integers_of_litert(
    kind: Any, kernel: tuple[int, int], stride: int, tmp_path: Path
) -> None:
    """Halves, which windows of an even number of pixels have, go away from zero; SAME counts no padding."""
    pytest.importorskip("ai_edge_litert")
    model = Model(kind)
    size = {"FilterHeight": kernel[0], "FilterWidth": kernel[1], "StrideH": stride, "StrideW": stride}
    one("AVERAGE_POOL_2D", "Pool2DOptions", Padding=SAME, **size)(model)
    data, feeds = write(model.graph), model.feeds()
    assert "quantized_pool2d_s8s8" in steps_that_equal_litert(data, feeds, tmp_path)


@pytest.mark.native
@pytest.mark.parametrize("kind", [np.int8, np.uint8], ids=["int8", "uint8"])
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize(
    ("size", "axes"), [((4, 4), [1, 2]), ((7, 7), [1, 2]), ((16, 2), [1, 2]), ((6, 5), [2]), ((3, 4), [3])]
)
def test_a_mean_gives_the_very_integers_of_litert_near_halves(
    size: tuple[int, int], axes: list[int], keep: bool, kind: Any, tmp_path: Path
) -> None:
    """Ratios of scales with few binary digits, so that many means are halves but for the rounding of f32."""
    pytest.importorskip("ai_edge_litert")
    for seed in range(4):
        model = Model(kind)
        random = np.random.default_rng(seed)
        coarse, zeros = random.uniform(0.01, 0.1), [int(zero) for zero in random.integers(-90, 90, 2)]
        x = model.input((2, *size, 300), coarse * (2 * seed + 17) / 16, zeros[0])
        inputs, result = [x, model.ints(*axes)], model.output(coarse, zeros[1])
        model.graph.op("MEAN", inputs, [result], "ReducerOptions", KeepDims=keep)
        data = write(model.graph)
        near = random.integers(-30, 30, (2, *size, 300)) + zeros[0] + model.shift
        info = np.iinfo(kind)
        feeds = {"x0": np.clip(near, info.min, info.max).astype(kind)}
        assert "quantized_pool2d_s8s8" in steps_that_equal_litert(data, feeds, tmp_path)


@pytest.mark.native
@pytest.mark.parametrize("kind", [np.int8, np.uint8], ids=["int8", "uint8"])
@pytest.mark.parametrize("seed", range(4))
def test_a_prelu_gives_the_very_integers_of_litert(seed: int, kind: Any, tmp_path: Path) -> None:
    """In fixed point, whatever the scales; one slope for each channel."""
    pytest.importorskip("ai_edge_litert")
    model = Model(kind)
    model.random = random = np.random.default_rng(seed)
    stored = (random.integers(-128, 128, (1, 1, 16)) + model.shift).astype(kind)
    zeros = [int(zero) for zero in random.integers(-60, 60, 3)]
    slope = model.graph.constant(stored, scales=[random.uniform(0.002, 0.02)], zeros=[zeros[0] + model.shift])
    scales = random.uniform(0.005, 0.05, 2)
    x, y = model.input((1, 32, 32, 16), scales[0], zeros[1]), model.output(scales[1], zeros[2])
    model.graph.op("PRELU", [x, slope], [y])
    data, feeds = write(model.graph), model.feeds()
    assert "lookup_anyany" in steps_that_equal_litert(data, feeds, tmp_path)


@pytest.mark.native
@pytest.mark.parametrize("kind", [np.int8, np.uint8], ids=["int8", "uint8"])
@pytest.mark.parametrize("constant", [True, False], ids=["constant", "computed"])
@pytest.mark.parametrize("name", ["ADD", "SUB"])
def test_a_sum_gives_the_very_integers_of_litert_at_halves(
    name: str, constant: bool, kind: Any, tmp_path: Path
) -> None:
    """Scales whose ratios are nearly round numbers, so that many sums lie near a half: which way those go
    is a matter of how many bits the factors have.
    """
    pytest.importorskip("ai_edge_litert")
    for scale in (0.0200003, 0.0199997, 0.02):
        model = Model(kind)
        x = model.input((1, 16, 16, 16), 0.01, -45)
        if constant:
            stored = (model.random.integers(-128, 128, (1, 1, 1, 16)) + model.shift).astype(kind)
            other = model.graph.constant(stored, scales=[0.0100001], zeros=[7 + model.shift])
        else:
            other = model.input((1, 16, 16, 16), 0.0100001, 7)
        table = "AddOptions" if name == "ADD" else "SubOptions"
        model.graph.op(name, [x, other], [model.output(scale, -15)], table)
        data, feeds = write(model.graph), model.feeds()
        (got,) = Session(compile(data, output=tmp_path / "m.tcpkg")).run(feeds).values()
        np.testing.assert_array_equal(got, reference(data)[1](feeds)[0])


@pytest.mark.native
@pytest.mark.parametrize("seed", range(6))
def test_a_squared_difference_gives_the_integers_of_litert(seed: int, tmp_path: Path) -> None:
    """As layer norms have it, with a mean that broadcasts; the same but for rounding in f32."""
    pytest.importorskip("ai_edge_litert")
    model = Model(np.int8)
    model.random = np.random.default_rng(seed)
    scales = model.random.uniform(0.001, 0.05, 2)
    inputs = [model.input((1, 32, 32, 16), scales[0], 5), model.input((1, 32, 32, 1), scales[1], -20)]
    result = model.output((127 * scales.max()) ** 2 / 255, -128)
    model.graph.op("SQUARED_DIFFERENCE", inputs, [result])
    data, feeds = write(model.graph), model.feeds()
    (got,) = Session(compile(data, output=tmp_path / "m.tcpkg")).run(feeds).values()
    assert np.mean(got == reference(data)[1](feeds)[0]) >= 0.9999


@pytest.mark.native
@pytest.mark.parametrize(
    ("kind", "table"), [("ADD", "AddOptions"), ("SUB", "SubOptions"), ("MUL", "MulOptions")]
)
def test_a_quantized_constant_gives_the_very_integers_of_litert(
    kind: str, table: str, tmp_path: Path
) -> None:
    """As batch norms that follow no convolution leave them: one constant for each channel."""
    pytest.importorskip("ai_edge_litert")
    model = Model(np.int8)
    stored = model.random.integers(-128, 128, (1, 1, 1, 16)).astype(np.int8)
    constant = model.graph.constant(stored, scales=[0.0137], zeros=[-11])
    model.graph.op(kind, [model.input(), constant], [model.output(0.031)], table)
    data, feeds = write(model.graph), model.feeds()
    # A factor for each channel is a slope; sums are tables.
    steps = ["quantized_prelu_s8s8" if kind == "MUL" else "lookup_anyany"]
    assert steps_that_equal_litert(data, feeds, tmp_path) == steps


def test_scales_and_zero_points_are_kept() -> None:
    model = Model(np.int8)
    convolution("CONV_2D", 3)(model)
    hub = load(write(model.graph))
    (conv,) = [node for node in hub.graph if node.op_type == "Conv"]
    sources = [value.producer() for value in conv.inputs if value is not None]
    assert [node.op_type for node in sources if node is not None] == ["DequantizeLinear"] * 3
    stored = [
        node.inputs[0].dtype.name for node in sources if node and node.inputs[0] and node.inputs[0].dtype
    ]
    assert stored == ["INT8", "INT8", "INT32"]
    assert [node.op_type for node in hub.graph if conv.outputs[0] in node.inputs] == ["QuantizeLinear"]


def test_an_activation_that_the_integers_clamp_anyway_is_dropped() -> None:
    """RELU of a result whose least integer stands for 0."""
    model = Model(np.int8)
    weight, scales = model.weight((24, 1, 1, 16))
    inputs = [model.input(), weight, model.bias(scales, 24)]
    options = {"StrideH": 1, "StrideW": 1, "Padding": SAME, "FusedActivationFunction": ACT.RELU}
    model.graph.op("CONV_2D", inputs, [model.output(0.05, -128)], "Conv2DOptions", **options)
    assert "Relu" not in [node.op_type for node in load(write(model.graph)).graph]


def test_sixteen_bit_activations_are_refused() -> None:
    graph = Graph()
    x = graph.input("x", DIMS, "INT16", scales=[0.01])
    graph.op("LOGISTIC", [x], [graph.result("y", (1,), "INT16", scales=[1 / 32768])])
    with pytest.raises(ModelError, match=r"operator 0 \(LOGISTIC\).*'x' is quantized to 16 bits"):
        load(write(graph))
