"""Instance norm keeps its digits: large means, flat pictures, steps between flat parts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from onnx_node import FEATURES, model_of, random

from tiercast import compile
from tiercast.session import Session

SIZE, CHANNELS, EPSILON = 24, 19, 1e-5
EIGHTEEN_BITS = 2.0**-18


def normalised(x: np.ndarray) -> np.ndarray:
    wide = x.astype(np.float64)
    return (wide - wide.mean((2, 3), keepdims=True)) / np.sqrt(wide.var((2, 3), keepdims=True) + EPSILON)


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> list[Session]:
    node = helper.make_node("InstanceNormalization", ["x", "scale", "bias"], ["y"], epsilon=EPSILON)
    constants = {"scale": np.ones(CHANNELS, np.float32), "bias": np.zeros(CHANNELS, np.float32)}
    model = model_of(node, {"x": random(1, CHANNELS, SIZE, SIZE)}, constants)
    package = compile(model, output=tmp_path_factory.mktemp("norm") / "norm.tcpkg")
    return [Session(package, features=features) for features in FEATURES]


@pytest.mark.native
@settings(max_examples=20, deadline=None)
@given(
    mean=st.sampled_from([0.0, 1.0, -1000.0]),
    spread=st.sampled_from([1e-2, 1.0, 100.0]),
    step=st.sampled_from([0.0, 1.0, 1e4]),
    edge=st.integers(0, SIZE),
)
def test_close_to_double_precision(
    sessions: list[Session], mean: float, spread: float, step: float, edge: int
) -> None:
    x = random(1, CHANNELS, SIZE, SIZE) * np.float32(spread) + np.float32(mean)
    x[:, :, edge:] += np.float32(step)
    wanted = normalised(x)
    # What the input's own rounding is in units of the result, no f32 normalisation gets below.
    deviation = np.sqrt(x.astype(np.float64).var((2, 3)).min() + EPSILON)
    room = EIGHTEEN_BITS + np.abs(x).max() * 2.0**-22 / deviation
    for session in sessions:
        assert np.abs(session.run({"x": x})["y"] - wanted).max() <= room * np.abs(wanted).max()
