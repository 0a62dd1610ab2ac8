"""Weights kept as s8: what lies on a grid comes back to the bit, what does not within half a step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from tiercast.lower.int8_weights import exact_int8, nearest_int8
from tiercast.package.file import write_package
from tiercast.parity import verify
from tiercast.pipeline import compile_plan
from tiercast.session import Session

SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS, st.booleans())
def test_weights_that_were_quantized_come_back_to_the_bit(seed: int, one_scale: bool) -> None:
    random = np.random.default_rng(seed)
    dims = tuple(int(size) for size in random.integers(1, 40, 3))
    stored = random.integers(-127, 128, dims).astype(np.int8)
    stored[:, 0] = 127 * random.choice([-1, 1], (dims[0], dims[2]))
    if one_scale:  # then only one element of all need be the largest
        stored[:, 0, 1:] //= 2
    count = (1, 1) if one_scale else (dims[0], dims[2])
    scales = np.broadcast_to(np.exp(random.uniform(-12, 3, count)), (dims[0], dims[2])).astype(np.float32)
    matrix = stored.astype(np.float32) * scales[:, None]
    found = exact_int8(matrix)
    assert found is not None and found.error == 0.0
    np.testing.assert_array_equal(found.values * found.scales[:, None], matrix)


@given(SEEDS)
def test_other_weights_are_half_a_step_off_at_most(seed: int) -> None:
    random = np.random.default_rng(seed)
    matrix = random.standard_normal((2, 64, 9)).astype(np.float32)
    matrix[:, :, 3] = 0
    assert exact_int8(matrix) is None
    found = nearest_int8(matrix)
    off = np.abs(found.values * found.scales[:, None].astype(np.float64) - matrix)
    assert (off <= found.scales[:, None] * 0.5001).all()
    assert found.refusal is None and 1e-3 < found.error < 1e-2


def test_a_column_with_an_outlier_is_refused() -> None:
    matrix = np.random.default_rng(0).standard_normal((1, 512, 8)).astype(np.float32)
    matrix[0, 7] = 500
    assert "int8 would change a weight by" in str(nearest_int8(matrix).refusal)
    assert nearest_int8(np.full((1, 4, 4), 1e-44, np.float32)).refusal is not None


def model(grid: bool) -> onnx.ModelProto:
    """Convolutions (direct, Winograd, grouped, depthwise, transposed), products and a GRU.

    grid: their weights are multiples of a 127th of each output's largest.
    """
    random = np.random.default_rng(3)
    arrays: dict[str, np.ndarray] = {"shape": np.array([64, 1, 64], np.int64)}
    axes = {"up": 1, "product": 1, "gru": 1, "again": 1}

    def weight(name: str, *dims: int) -> str:
        made = random.standard_normal(dims) / np.sqrt(np.prod(dims) / dims[0])
        others = tuple(axis for axis in range(len(dims)) if axis != axes.get(name, 0))
        step = (np.abs(made).max(others, keepdims=True) / 127).astype(np.float32)
        arrays[name] = np.rint(made / step).astype(np.float32) * step if grid else made.astype(np.float32)
        return name

    def conv(x: str, name: str, *dims: int, **more: object) -> onnx.NodeProto:
        pads = {"pads": [dims[-1] // 2] * 4} if "strides" not in more else {}
        return helper.make_node("Conv", [x, weight(name, *dims)], [f"{name}.y"], **pads, **more)

    nodes = [
        conv("x", "point", 32, 64, 1, 1),
        conv("point.y", "winograd", 48, 32, 3, 3),
        conv("winograd.y", "grouped", 64, 12, 3, 3, group=4),
        helper.make_node("Relu", ["grouped.y"], ["r"]),
        conv("r", "depthwise", 64, 1, 5, 5, group=64),
        helper.make_node("ConvTranspose", ["depthwise.y", weight("up", 64, 64, 2, 2)], ["u"], strides=[2, 2]),
        conv("u", "down", 64, 64, 4, 4, strides=[4, 4]),
        helper.make_node("Reshape", ["down.y", "shape"], ["rows"]),
        helper.make_node("MatMul", ["rows", weight("product", 64, 64)], ["p"]),
        helper.make_node(
            "GRU", ["p", weight("gru", 1, 192, 64), weight("again", 1, 192, 64)], ["", "y"], hidden_size=64
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "all",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (1, 64, 16, 16))],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (1, 1, 64))],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)


@pytest.mark.native
def test_int8_weights_make_a_quarter_of_the_package(tmp_path: Path) -> None:
    plain, narrow = (
        compile_plan(model(False), "host", precision=name).plan for name in ("f32", "int8-weights")
    )
    assert [step.kernel for step in narrow.steps] == [step.kernel for step in plain.steps]
    assert len(narrow.weights) < 0.32 * len(plain.weights)
    assert verify(model(False), write_package(narrow, tmp_path / "m.tcpkg")).ok


@pytest.mark.native
def test_weights_of_a_quantized_file_stay_s8_and_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = {"x": np.random.default_rng(1).standard_normal((1, 64, 16, 16)).astype(np.float32)}
    small = compile_plan(model(True), "host").plan
    monkeypatch.setattr("tiercast.lower.narrow_weights.SMALLEST_EXACT", 1 << 40)
    plain = compile_plan(model(True), "host").plan
    made = [step.op for step in small.prepare].count("widen_weights_s8f32")
    assert made == 8 and not any("widen" in step.op for step in plain.prepare)
    assert len(small.weights) < 0.5 * len(plain.weights)
    got, expected = (
        Session(write_package(plan, tmp_path / f"{len(plan.prepare)}.tcpkg")).run(x)["y"]
        for plan in (small, plain)
    )
    np.testing.assert_array_equal(got, expected)
