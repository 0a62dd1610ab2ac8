"""Operators on integers of ONNX and of onnxruntime's quantizer: read as QDQ, run on integers, the same
results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.backend.test.case.node import collect_testcases
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from tests.ops.onnx_node import parsed
from tests.ops.onnx_node import wanted as wanted_of
from tests.passes.quantized_models import Builder, judged, ours, refusals
from tiercast import Session, compile

pytestmark = pytest.mark.native
OPERATORS = (
    "QLinearConv",
    "QLinearMatMul",
    "ConvInteger",
    "MatMulInteger",
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
)
# What the integers of a one-node test may be; blocks of four bits, f8 and 16 bits are other formats.
CARRIED = {np.dtype(name) for name in ("float32", "int8", "uint8", "int32")}


def cases() -> dict[str, onnx.ModelProto]:
    """ONNX's one-node tests of these operators by name, with data as `ours` and all but images bound."""
    found = {}
    for case in collect_testcases(None):  # type: ignore[arg-type]
        nodes = case.model.graph.node
        if len(nodes) == 1 and nodes[0].op_type in OPERATORS:
            inputs, outputs = case.data_sets[0]
            if all(
                isinstance(item, np.ndarray | np.generic) and item.dtype in CARRIED
                for item in (*inputs, *outputs)
            ):
                found[case.name] = case
    return found


@pytest.mark.slow
def test_onnx_node_tests_pass() -> None:
    wrong, all_cases = [], cases()
    for name, case in all_cases.items():
        model = onnx.ModelProto()
        model.CopyFrom(case.model)
        inputs, outputs = case.data_sets[0]
        node = model.graph.node[0]
        fed = (
            {0, 3} if node.op_type == "QLinearMatMul" else {0, 1} if node.op_type == "MatMulInteger" else {0}
        )
        feeds = {}
        for at, (port, data) in enumerate(zip(list(model.graph.input), inputs, strict=True)):
            if at in fed:
                feeds[port.name] = data
            else:
                model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(data), port.name))
                model.graph.input.remove(port)
        got, _ = ours(model, feeds)
        for left, right in zip(got, outputs, strict=True):
            if not np.allclose(left, right, rtol=1e-5, atol=1e-7):
                wrong.append(name)
    assert len(all_cases) >= 15 and not wrong


@pytest.mark.parametrize("kinds", [("uint8", "uint8"), ("int8", "uint8"), ("uint8", "int8")])
@pytest.mark.parametrize("forms", ["computed computed", "rows columns", "known computed", "computed known"])
def test_products_with_computed_zero_points(kinds: tuple[str, str], forms: str, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    (a_form, b_form), dims = forms.split(), {"computed": "", "known": "", "rows": "[4]", "columns": "[5]"}
    zeros = f"{kinds[0]}{dims[a_form]} za, {kinds[1]}{dims[b_form]} zb"
    ports = f"{kinds[0]}[4,70] a, {kinds[1]}[70,5] b, {zeros}"
    model = parsed(f"({ports}) => (int32[4,5] y) {{ y = MatMulInteger(a, b, za, zb) }}")
    feeds = {}
    for port in list(model.graph.input):
        kind = onnx.helper.tensor_dtype_to_np_dtype(port.type.tensor_type.elem_type)
        sizes = [dim.dim_value for dim in port.type.tensor_type.shape.dim]
        info = np.iinfo(kind)
        feeds[port.name] = random.integers(info.min, info.max, sizes, kind, endpoint=True)
    whole = {name: array.astype(np.int64) for name, array in feeds.items()}
    rows, columns = whole["za"].reshape(-1, 1), whole["zb"].reshape(1, -1)
    wanted = (whole["a"] - rows) @ (whole["b"] - columns)
    for name, form in (("za", a_form), ("zb", b_form)):
        if form == "known":
            model.graph.input.remove(next(port for port in model.graph.input if port.name == name))
            model.graph.initializer.append(onnx.numpy_helper.from_array(feeds.pop(name), name))
    found = Session(compile(model, output=tmp_path / "m.tcpkg")).run(feeds)["y"]
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("kind", ["int16", "uint16"])
def test_integers_of_16_bits(kind: str, tmp_path: Path) -> None:
    text = f"""(float[5,300] x) => ({kind}[5,300] q, float[5,300] y) {{
        q = QuantizeLinear(x, s, z)  y = DequantizeLinear(q, s, z) }}"""
    model = parsed(text)
    constants = {"s": np.float32(0.01), "z": np.array(1000, kind)}
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.asarray(data), name) for name, data in constants.items()
    )
    x = np.random.default_rng(0).uniform(-900, 900, (5, 300)).astype(np.float32)  # beyond both ends
    found = Session(compile(model, output=tmp_path / "m.tcpkg")).run({"x": x})
    for name, wanted in wanted_of(model, {"x": x}).items():
        np.testing.assert_array_equal(found[name], wanted)


@pytest.mark.parametrize("zero", ["", ", z"])
def test_blocks_with_computed_scales(zero: str, tmp_path: Path) -> None:
    text = f"""(float[2,6,3] x, float[2,3,3] s, uint8[2,3,3] z) => (uint8[2,6,3] q, float[2,6,3] y)
        {{ q = QuantizeLinear<axis=1, block_size=2>(x, s{zero})
           y = DequantizeLinear<axis=1, block_size=2>(q, s{zero}) }}"""
    random = np.random.default_rng(0)
    feeds = {
        "x": random.uniform(-3, 9, (2, 6, 3)).astype(np.float32),
        "s": random.uniform(0.02, 0.06, (2, 3, 3)).astype(np.float32),
        "z": random.integers(0, 99, (2, 3, 3), np.uint8),
    }
    model = parsed(text)
    found = Session(compile(model, output=tmp_path / "m.tcpkg")).run(feeds)
    for name, wanted in wanted_of(model, feeds).items():
        np.testing.assert_allclose(found[name], wanted, rtol=1e-6)


def small_network() -> tuple[Builder, str]:
    builder = Builder()
    x = builder.real_input(1, 3, 16, 16)

    def convolved(value: str, outputs: int, inputs: int, kernel: int, **attributes: object) -> str:
        weight = builder.random.standard_normal((outputs, inputs, kernel, kernel)) / np.sqrt(
            inputs * kernel**2
        )
        operands = [
            builder.const(weight.astype(np.float32)),
            builder.const(np.full(outputs, 0.1, np.float32)),
        ]
        return builder.op("Conv", value, *operands, pads=[kernel // 2] * 4, **attributes)

    x = builder.op("Relu", convolved(x, 16, 3, 3))
    y = builder.op("Sigmoid", convolved(x, 16, 1, 3, group=16))
    x = builder.op("Concat", builder.op("Add", x, builder.op("Mul", x, y)), y, axis=1)
    x = builder.op("AveragePool", builder.op("LeakyRelu", x, alpha=0.1), kernel_shape=[2, 2], strides=[2, 2])
    x = builder.op("Flatten", builder.op("GlobalAveragePool", x))
    weight = builder.const(builder.random.standard_normal((10, 32)).astype(np.float32))
    x = builder.op("Gemm", x, weight, builder.const(np.zeros(10, np.float32)), transB=1)
    return builder, builder.op("Softmax", x, axis=1)


class Frames(CalibrationDataReader):
    def __init__(self, builder: Builder) -> None:
        self._frames = iter([builder.feeds(seed) for seed in range(4)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._frames, None)


@pytest.mark.parametrize("layout", [QuantFormat.QDQ, QuantFormat.QOperator], ids=lambda item: item.name)
@pytest.mark.parametrize("kind", [QuantType.QInt8, QuantType.QUInt8], ids=lambda item: item.name)
def test_what_onnxruntime_quantizes_runs_on_integers(
    layout: QuantFormat, kind: QuantType, tmp_path: Path
) -> None:
    builder, result = small_network()
    onnx.save(builder.model(result), tmp_path / "real.onnx")
    options = {
        "quant_format": layout,
        "per_channel": True,
        "activation_type": kind,
        "weight_type": QuantType.QInt8,
    }
    quantize_static(tmp_path / "real.onnx", tmp_path / "quantized.onnx", Frames(builder), **options)
    model = onnx.load(tmp_path / "quantized.onnx")
    (got,), done = ours(model, builder.feeds(9))
    (expected,) = judged(model, builder.feeds(9))
    assert np.abs(got - expected).max() <= 2.5 / 255  # two steps of a softmax
    assert refusals(done) == "Softmax is computed in f32: it has no form on integers"


def test_zero_points_that_are_computed_meet_borders(tmp_path: Path) -> None:
    builder, result = small_network()
    onnx.save(builder.model(result), tmp_path / "real.onnx")
    quantize_dynamic(tmp_path / "real.onnx", tmp_path / "dynamic.onnx")
    model = onnx.load(tmp_path / "dynamic.onnx")
    assert {"ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"} <= {
        node.op_type for node in model.graph.node
    }
    (got,), _ = ours(model, builder.feeds(9))
    np.testing.assert_allclose(got, judged(model, builder.feeds(9))[0], atol=1e-5)
