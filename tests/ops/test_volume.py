"""3-D Conv and ConvTranspose against onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper
from onnx_node import assert_same, parsed, random, wanted

from tiercast import Session, compile
from tiercast.errors import ModelError

# channels, filters, groups; attributes
CONV: list[tuple[tuple[int, int, int], dict[str, Any]]] = [
    ((3, 8, 1), {"kernel_shape": [3, 3, 3], "pads": [1, 1, 1, 1, 1, 1]}),
    ((3, 20, 1), {"kernel_shape": [2, 3, 2], "strides": [2, 3, 2]}),  # patches
    ((8, 6, 2), {"kernel_shape": [3, 2, 1], "pads": [2, 0, 0, 1, 1, 0], "dilations": [2, 1, 1]}),
    ((8, 8, 1), {"kernel_shape": [1, 3, 3], "strides": [2, 1, 1]}),
    ((8, 9, 1), {"kernel_shape": [1, 1, 1]}),
    ((8, 9, 1), {"kernel_shape": [3, 1, 1], "pads": [2, 0, 0, 0, 0, 0]}),  # causal
    ((17, 17, 17), {"kernel_shape": [3, 3, 3], "pads": [1, 1, 1, 1, 1, 1], "strides": [2, 1, 1]}),
    ((6, 6, 6), {"kernel_shape": [2, 3, 3], "dilations": [2, 2, 1]}),
    ((4, 12, 4), {"kernel_shape": [3, 3, 3], "auto_pad": "SAME_LOWER", "strides": [2, 2, 1]}),
]
TRANSPOSED: list[tuple[tuple[int, int, int], dict[str, Any]]] = [
    ((4, 6, 1), {"kernel_shape": [2, 2, 2], "strides": [2, 2, 2]}),
    ((4, 6, 2), {"kernel_shape": [3, 2, 2], "strides": [3, 2, 1]}),
    ((4, 6, 2), {"kernel_shape": [3, 4, 2], "strides": [2, 2, 1], "pads": [1, 1, 0, 0, 1, 1]}),
    ((3, 17, 1), {"kernel_shape": [3, 3, 3], "dilations": [2, 1, 2], "strides": [3, 2, 1]}),
    ((6, 6, 6), {"kernel_shape": [3, 3, 3], "strides": [3, 2, 2], "output_padding": [2, 1, 0]}),
    ((4, 5, 1), {"kernel_shape": [3, 3, 3], "strides": [2, 2, 2], "output_shape": [9, 10, 14]}),
    ((4, 5, 1), {"kernel_shape": [1, 3, 3], "strides": [1, 2, 2], "auto_pad": "SAME_UPPER"}),
]


@pytest.mark.native
@pytest.mark.parametrize(("channels", "attributes"), CONV)
def test_conv(tmp_path: Path, channels: tuple[int, int, int], attributes: dict[str, Any]) -> None:
    c, filters, group = channels
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], group=group, **attributes)
    constants = {"w": random(filters, c // group, *attributes["kernel_shape"]), "b": random(filters)}
    assert_same(tmp_path, node, {"x": random(2, c, 6, 7, 8)}, constants)


@pytest.mark.native
@pytest.mark.parametrize(("channels", "attributes"), TRANSPOSED)
def test_conv_transpose(tmp_path: Path, channels: tuple[int, int, int], attributes: dict[str, Any]) -> None:
    c, filters, group = channels
    node = helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], group=group, **attributes)
    constants = {"w": random(c, filters // group, *attributes["kernel_shape"]), "b": random(filters)}
    assert_same(tmp_path, node, {"x": random(2, c, 4, 5, 7)}, constants)


@pytest.mark.native
def test_a_network_of_volumes_moves_no_channels(tmp_path: Path) -> None:
    """Volumes stay channels last from the first convolution to the last: nothing but taps is copied."""
    text = """(float[1,3,4,8,8] x, float[16] b) => (float[1,16,2,2,2] y) {
        a = Conv<pads=[1,1,1,1,1,1]>(x, w0)  r = Relu(a)
        p = MaxPool<kernel_shape=[2,2,2], strides=[2,2,2]>(r)
        c = Conv<pads=[1,1,1,1,1,1]>(p, w1, b)  n = BatchNormalization(c, s, s, m, s)
        y = AveragePool<kernel_shape=[1,2,2], strides=[1,2,2]>(n) }"""
    model = parsed(text)
    constants = {"w0": random(8, 3, 3, 3, 3), "w1": random(16, 8, 3, 3, 3), "s": np.ones(16, np.float32)}
    constants["m"] = random(16)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    session = Session(compile(model, output=tmp_path / "m.tcpkg"))
    inputs = {"x": random(1, 3, 4, 8, 8), "b": random(16)}
    np.testing.assert_allclose(session.run(inputs)["y"], wanted(model, inputs)["y"], rtol=1e-4, atol=1e-5)
    assert sum(step["op"].startswith("copy") for step in session.steps) <= 4  # x, each one's taps, y


def test_refusals(tmp_path: Path) -> None:
    body = "{ y = Conv<dilations=[3,1,1]>(x, w) }"
    model = parsed(f"(float[1,2,4,4,4] x, float[3,2,2,3,3] w) => (float[1,3,1,2,2] y) {body}")
    with pytest.raises(ModelError, match="weights computed at run time of rank 5"):
        compile(model, output=tmp_path / "m.tcpkg")
    model = parsed(f"(float[1,2,4,4,4] x) => (float[1,3,N,M,K] y) {body}")
    model.graph.initializer.append(numpy_helper.from_array(random(3, 2, 3, 3, 3), "w"))
    with pytest.raises(ModelError, match=r"contradict|exceeds the padded depth 4"):
        compile(model, output=tmp_path / "m.tcpkg")
