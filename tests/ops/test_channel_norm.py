"""Instance norm keeps its digits: large means, flat pictures, steps between flat parts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx_node import FEATURES, model_of, random

from tiercast import compile
from tiercast.package.file import write_package
from tiercast.pipeline import compile_plan
from tiercast.session import Session

SIZE, CHANNELS, EPSILON = 24, 19, 1e-5
EIGHTEEN_BITS = 2.0**-18


def normalised(x: np.ndarray) -> np.ndarray:
    wide = x.astype(np.float64)
    return (wide - wide.mean((2, 3), keepdims=True)) / np.sqrt(wide.var((2, 3), keepdims=True) + EPSILON)


def close_to_double_precision(y: np.ndarray, x: np.ndarray) -> None:
    """y is x normalised, but for what x's own rounding is in units of y: no f32 normalisation gets below."""
    wanted = normalised(x)
    deviation = np.sqrt(x.astype(np.float64).var((2, 3)).min() + EPSILON)
    room = EIGHTEEN_BITS + np.abs(x).max() * 2.0**-22 / deviation
    assert np.abs(y - wanted).max() <= room * np.abs(wanted).max()


NORM = helper.make_node("InstanceNormalization", ["x", "scale", "bias"], ["y"], epsilon=EPSILON)
CONSTANTS = {"scale": np.ones(CHANNELS, np.float32), "bias": np.zeros(CHANNELS, np.float32)}


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> list[Session]:
    model = model_of(NORM, {"x": random(1, CHANNELS, SIZE, SIZE)}, CONSTANTS)
    package = compile(model, output=tmp_path_factory.mktemp("norm") / "norm.tcpkg")
    return [Session(package, features=features) for features in FEATURES]


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> list[Session]:
    """A convolution, which is an output, and its normalisation, by statistics that the convolution takes."""
    model = model_of(NORM, {"x": random(1, CHANNELS, SIZE, SIZE)}, CONSTANTS)
    weight = np.zeros((CHANNELS, CHANNELS, 3, 3), np.float32)
    weight[range(CHANNELS), range(CHANNELS), 1, 1] = 1.0  # any other would need more digits of its sums
    weight += random(*weight.shape) * np.float32(1e-4)
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    model.graph.node[0].input[0] = "c"
    model.graph.node.insert(0, helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]))
    shape = [1, CHANNELS, SIZE, SIZE]
    model.graph.output.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, shape))
    plan = compile_plan(model).plan
    kernels = [step.op for step in plan.steps]
    assert any(op.startswith("winograd") for op in kernels) and "channel_statistics_f32f32" not in kernels
    package = write_package(plan, tmp_path_factory.mktemp("norm") / "fused.tcpkg")
    return [Session(package, features=features) for features in FEATURES]


IMAGES = given(
    mean=st.sampled_from([0.0, 1.0, -1000.0]),
    spread=st.sampled_from([1e-2, 1.0, 100.0]),
    step=st.sampled_from([0.0, 1.0, 1e4]),
    edge=st.integers(0, SIZE),
)


def image(mean: float, spread: float, step: float, edge: int) -> np.ndarray:
    x = random(1, CHANNELS, SIZE, SIZE) * np.float32(spread) + np.float32(mean)
    x[:, :, edge:] += np.float32(step)
    return x


@pytest.mark.native
@settings(max_examples=20, deadline=None)
@IMAGES
def test_close_to_double_precision(
    sessions: list[Session], mean: float, spread: float, step: float, edge: int
) -> None:
    x = image(mean, spread, step, edge)
    for session in sessions:
        close_to_double_precision(session.run({"x": x})["y"], x)


@pytest.mark.native
@settings(max_examples=20, deadline=None)
@IMAGES
def test_statistics_of_a_convolution_are_close_to_double_precision(
    fused: list[Session], mean: float, spread: float, step: float, edge: int
) -> None:
    x = image(mean, spread, step, edge)
    for session in fused:
        made = session.run({"x": x})
        close_to_double_precision(made["y"], made["c"])
