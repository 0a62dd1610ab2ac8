"""Weights kept in 4 bits: what lies on a grid comes back to the bit, what does not as near as can be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from tests.lower.test_int8_weights import model as float_model
from tiercast.errors import PackageError
from tiercast.kernel import families
from tiercast.lower.calls import KEPT_WIDER
from tiercast.lower.int4_weights import GROUP, Int4Weight, exact_int4, nearest_int4
from tiercast.lower.narrow_weights import narrow_weight
from tiercast.ops.registry import dense_strides
from tiercast.package.file import write_package
from tiercast.parity import verify
from tiercast.pipeline import compile_plan
from tiercast.session import Session

SEEDS = st.integers(0, 2**32 - 1)


def widened(weight: Int4Weight) -> np.ndarray:
    """What the kernel makes of it."""
    scales = weight.scales.astype(np.float32) * np.float32(weight.unit)
    by_row = np.repeat(scales, weight.group, axis=1)[:, : weight.values.shape[1]]
    return weight.values.astype(np.float32) * by_row


def random_matrix(seed: int) -> np.ndarray:
    """f32 [B,K,N] of columns of very different sizes, some of which are zero."""
    random = np.random.default_rng(seed)
    batch, rows, columns = (int(size) for size in random.integers(1, [4, 150, 40]))
    sizes = np.exp(random.uniform(-20, 5, columns)) * (random.random(columns) > 0.1)
    return (random.standard_normal((batch, rows, columns)) * sizes).astype(np.float32)


@given(SEEDS, st.sampled_from([16, 32, 64, 128, 1000]), st.booleans())
def test_weights_that_were_quantized_come_back_to_the_bit(seed: int, group: int, full: bool) -> None:
    random = np.random.default_rng(seed)
    batch, rows, columns = (int(size) for size in random.integers(1, [4, 300, 20]))
    stored = random.integers(-8 if full else -2, 8 if full else 3, (batch, rows, columns)).astype(np.float32)
    scales = np.exp(random.uniform(-12, 3, (batch, -(-rows // group), columns))).astype(np.float32)
    matrix = stored * np.repeat(scales, group, axis=1)[:, :rows]
    found = exact_int4(matrix)
    assert found is not None and found.error == 0.0
    np.testing.assert_array_equal(widened(found), matrix)


@given(SEEDS)
def test_other_weights_are_nearer_than_without_clipping(seed: int) -> None:
    matrix = random_matrix(seed)
    found = nearest_int4(matrix)
    assert found.group <= GROUP and found.values.shape == matrix.shape
    off = np.linalg.norm((widened(found) - matrix).astype(np.float64))
    size = np.linalg.norm(matrix.astype(np.float64))
    assert off == pytest.approx(found.error * size, rel=1e-3, abs=1e-30)
    starts = range(0, matrix.shape[1], found.group)
    plain = 0.0
    for piece in (matrix[:, start : start + found.group].astype(np.float64) for start in starts):
        scale = np.maximum(np.abs(piece).max(1, keepdims=True) / 7, 1e-300)
        plain += float(np.square(np.rint(piece / scale) * scale - piece).sum())
    assert off <= np.sqrt(plain) * 1.001 + size * 2.0**-11  # scales are f16


def test_normal_weights_lose_eight_percent_and_heavy_tails_are_kept_wider() -> None:
    random = np.random.default_rng(0)
    normal = random.standard_normal((1, 1152, 64)).astype(np.float32)
    assert exact_int4(normal) is None
    assert 0.07 < nearest_int4(normal).error < 0.085
    heavy = (random.gamma(0.5, size=(1, 1152, 64)) * random.choice([-1, 1], (1152, 64))).astype(np.float32)
    found, refused = narrow_weight(heavy, "s4")
    assert found is not None and found.kind == "int8" and "int4 would change a weight by" in refused[0]
    heavier = random.standard_t(2, (1, 1152, 64)).astype(np.float32)
    found, refused = narrow_weight(heavier, "s4")
    assert found is None and len(refused) == 2


@pytest.mark.native
def test_int4_weights_make_a_fifth_of_the_package(tmp_path: Path) -> None:
    plain, bytes_, narrow = (
        compile_plan(float_model(False), "host", precision=name).plan
        for name in ("f32", "int8-weights", "int4-weights")
    )
    assert [step.kernel for step in narrow.steps] == [step.kernel for step in plain.steps]
    assert len(narrow.weights) < 0.25 * len(plain.weights) < len(bytes_.weights)
    assert verify(float_model(False), write_package(narrow, tmp_path / "m.tcpkg")).ok


@pytest.mark.native
def test_what_is_kept_wider_is_named(tmp_path: Path) -> None:
    heavy = np.random.default_rng(0).standard_t(4, (128, 32)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="heavy")],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (3, 128))],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (3, 32))],
        [numpy_helper.from_array(heavy, "w")],
    )
    plan = compile_plan(helper.make_model(graph, ir_version=10), "host", precision="int4-weights").plan
    named = [text for name, text in plan.facts.items() if name.startswith(KEPT_WIDER)]
    assert (
        len(named) == 1
        and '"y/Matmul" (Matmul) b [128, 32]: int4 would' in named[0]
        and named[0].endswith("; int8")
    )
    assert [step.op for step in plan.prepare] == ["widen_weights_s8f32"]


def quantized_model(unsigned: bool) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """A product, a 3x3 and a 1x1 convolution with weights in 4 bits (blocks of 32, of 16, by channel), and
    the same with those weights in f32.
    """
    random = np.random.default_rng(5)
    kind = onnx.TensorProto.UINT4 if unsigned else onnx.TensorProto.INT4
    low, zero = (0, 8) if unsigned else (-8, 0)
    stored, nodes, plain = [], [], []

    def weight(name: str, dims: tuple[int, ...], axis: int, block: int) -> None:
        whole = random.integers(low, low + 16, dims)
        count = [size // max(block, 1) if index == axis else size for index, size in enumerate(dims)]
        count = count if block else [dims[axis]]
        scale = np.exp(random.uniform(-5, -3, count)).astype(np.float32)
        stored.append(helper.make_tensor(f"{name}.q", kind, dims, whole.ravel().tolist()))
        stored.append(numpy_helper.from_array(scale, f"{name}.s"))
        stored.append(helper.make_tensor(f"{name}.z", kind, scale.shape, [zero] * scale.size))
        more = {"block_size": block} if block else {}
        read = [f"{name}.{part}" for part in "qsz"]
        nodes.append(helper.make_node("DequantizeLinear", read, [name], axis=axis, **more))
        along = [-1 if index == axis else 1 for index in range(len(dims))]
        wide = np.repeat(scale, block, axis) if block else scale.reshape(along)
        plain.append(numpy_helper.from_array((whole - zero).astype(np.float32) * wide, name))

    weight("product", (64, 48), 0, 32)
    weight("window", (32, 64, 3, 3), 1, 16)
    weight("point", (40, 32, 1, 1), 0, 0)
    computing = [
        helper.make_node("MatMul", ["x", "product"], ["p"]),
        helper.make_node("Conv", ["c", "window"], ["w"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["w", "point"], ["q"]),
    ]
    ports = [("x", (5, 64)), ("c", (1, 64, 9, 9))], [("p", (5, 48)), ("q", (1, 40, 9, 9))]
    inputs, outputs = (
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, dims) for name, dims in side]
        for side in ports
    )

    def made(before: list[onnx.NodeProto], constants: list[onnx.TensorProto]) -> onnx.ModelProto:
        graph = helper.make_graph([*before, *computing], "g", inputs, outputs, constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)

    return made(nodes, stored), made([], plain)


@pytest.mark.native
@pytest.mark.parametrize("unsigned", [False, True])
def test_int4_weights_of_a_file_keep_their_bits(
    tmp_path: Path, unsigned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, plain = quantized_model(unsigned)
    plan = compile_plan(model, "host").plan
    path = write_package(plan, tmp_path / "m.tcpkg")
    assert [step.op for step in plan.prepare].count("widen_int4_u8f32") == 3
    assert verify(model, path).ok
    random = np.random.default_rng(0)
    given = {"x": random.standard_normal((5, 64)), "c": random.standard_normal((1, 64, 9, 9))}
    inputs = {name: item.astype(np.float32) for name, item in given.items()}
    monkeypatch.setattr("tiercast.lower.narrow_weights.SMALLEST_EXACT", 1 << 40)
    wide = compile_plan(plain, "host").plan
    assert len(plan.weights) < 0.25 * len(wide.weights)
    expected = Session(write_package(wide, tmp_path / "wide.tcpkg")).run(inputs)
    for name, array in Session(path).run(inputs).items():
        np.testing.assert_array_equal(array, expected[name])


@pytest.mark.native
@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("group", 31, "a row of scales for each group"),
        ("group", 0, "group must be at least 1"),
        ("group", -(2**31), "group must be at least 1"),
        ("granule", 64, "panel and granule"),
        ("panel", 3, "panel and granule"),
        ("panel", 0, "panel and granule"),
    ],
)
def test_a_package_whose_params_disagree_with_its_sizes_is_refused(
    tmp_path: Path, field: str, value: int, why: str
) -> None:
    plan = compile_plan(quantized_model(False)[0], "host").plan
    step = next(step for step in plan.prepare if step.op == "widen_int4_u8f32")
    right = {"panel": 32, "granule": 8, "group": 32, "unit": 1.0}
    broken = replace(step, params=families()["widen_int4"].pack_params({**right, field: value}))
    plan.prepare[plan.prepare.index(step)] = broken
    with pytest.raises(PackageError, match=why):
        Session(write_package(plan, tmp_path / "m.tcpkg"))


@pytest.mark.native
@pytest.mark.parametrize("operand", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("change", [-1, 1])
def test_a_package_whose_operands_disagree_is_refused(
    tmp_path: Path, operand: int, axis: int, change: int
) -> None:
    plan = compile_plan(quantized_model(False)[0], "host").plan
    step = next(step for step in plan.prepare if step.op == "widen_int4_u8f32")
    index = step.inputs[operand]
    dims = list(plan.tensors[index].dims)
    dims[axis] = max(0, dims[axis] + change * (1 + operand))  # columns come in pairs
    strides = dense_strides(tuple(dims))
    plan.tensors[index] = replace(plan.tensors[index], dims=tuple(dims), strides=strides)
    with pytest.raises(PackageError):
        Session(write_package(plan, tmp_path / "m.tcpkg"))
