"""ONNX Conv and ConvTranspose against onnxruntime, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper
from onnx_node import assert_same, model_of, random

from tiercast import compile
from tiercast.errors import ModelError

CONVS: list[tuple[tuple[int, int, int], dict[str, Any]]] = [
    ((3, 8, 1), {"kernel_shape": [3, 3], "pads": [1, 2, 0, 1]}),
    ((12, 12, 12), {"kernel_shape": [3, 3], "strides": [2, 1], "auto_pad": "SAME_UPPER"}),
    ((12, 24, 12), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ((6, 9, 3), {"kernel_shape": [5, 2], "dilations": [2, 3], "pads": [1, 2, 0, 1]}),
    ((19, 33, 1), {"kernel_shape": [1, 1], "strides": [2, 2]}),
    ((19, 33, 1), {"kernel_shape": [1, 1]}),
    ((4, 1, 1), {"kernel_shape": [3, 3], "auto_pad": "SAME_LOWER"}),
    ((4, 8, 4), {"kernel_shape": [3, 3], "auto_pad": "VALID"}),
    ((16, 32, 16), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ((5, 20, 5), {"kernel_shape": [5, 5], "dilations": [1, 2], "pads": [2, 4, 2, 4]}),
    ((2, 16, 2), {"kernel_shape": [65, 1], "pads": [32, 0, 32, 0]}),
    ((32, 32, 8), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ((64, 32, 32), {"kernel_shape": [1, 1]}),
    ((54, 54, 3), {"kernel_shape": [1, 1], "strides": [1, 2]}),
]


@pytest.mark.native
@pytest.mark.parametrize(("channels", "attributes"), CONVS)
def test_conv(tmp_path: Path, channels: tuple[int, int, int], attributes: dict[str, Any]) -> None:
    c, oc, group = channels
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], group=group, **attributes)
    weight = random(oc, c // group, *attributes["kernel_shape"])
    assert_same(tmp_path, node, {"x": random(2, c, 11, 14)}, {"w": weight, "b": random(oc)})


@pytest.mark.native
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    group=st.integers(2, 24),
    channels=st.integers(1, 5),
    filters=st.integers(1, 5),
    kernel=st.sampled_from([1, 3]),
    stride=st.integers(1, 2),
)
def test_grouped_conv(
    tmp_path: Path, group: int, channels: int, filters: int, kernel: int, stride: int
) -> None:
    node = helper.make_node(
        "Conv", ["x", "w", "b"], ["y"], group=group, strides=[stride] * 2, pads=[kernel // 2] * 4
    )
    weight = random(group * filters, channels, kernel, kernel)
    inputs, constants = {"x": random(1, group * channels, 7, 9)}, {"w": weight, "b": random(group * filters)}
    assert_same(tmp_path, node, inputs, constants)


@pytest.mark.native
@pytest.mark.parametrize("group", [1, 8])
def test_conv_of_a_sequence(tmp_path: Path, group: int) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=group, strides=[2], pads=[2, 1])
    assert_same(tmp_path, node, {"x": random(1, 8, 30)}, {"w": random(8, 8 // group, 5)})


@pytest.mark.native
def test_conv_with_a_computed_bias(tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"])
    assert_same(tmp_path, node, {"x": random(1, 4, 5, 6), "b": random(9)}, {"w": random(9, 4, 3, 3)})


TRANSPOSED: list[tuple[tuple[int, int, int], dict[str, Any]]] = [
    ((3, 8, 1), {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ((19, 33, 1), {"kernel_shape": [4, 4], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ((6, 9, 3), {"kernel_shape": [3, 3], "strides": [3, 2], "output_padding": [1, 1]}),
    ((3, 8, 1), {"kernel_shape": [5, 2], "dilations": [2, 3], "pads": [1, 2, 0, 1]}),
    ((3, 8, 1), {"kernel_shape": [4, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ((3, 8, 1), {"kernel_shape": [4, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    ((3, 8, 1), {"kernel_shape": [3, 3], "strides": [2, 2], "output_shape": [10, 14]}),
    ((3, 8, 1), {"kernel_shape": [3, 3], "strides": [3, 2], "output_shape": [17, 15]}),
    ((3, 8, 1), {"kernel_shape": [1, 2], "strides": [3, 3]}),
]


@pytest.mark.native
@pytest.mark.parametrize(("channels", "attributes"), TRANSPOSED)
def test_conv_transpose(tmp_path: Path, channels: tuple[int, int, int], attributes: dict[str, Any]) -> None:
    c, oc, group = channels
    node = helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], group=group, **attributes)
    weight = random(c, oc // group, *attributes["kernel_shape"])
    assert_same(tmp_path, node, {"x": random(1, c, 5, 7)}, {"w": weight, "b": random(oc)})


def refusal(node_type: str, inputs: dict[str, Any], constants: dict[str, Any], **attributes: Any) -> str:
    node = helper.make_node(node_type, [*inputs, *constants], ["y"], **attributes)
    with pytest.raises(ModelError) as caught:
        compile(model_of(node, inputs, constants), output="unused.tcpkg")
    return str(caught.value)


def test_a_computed_weight_is_refused() -> None:
    inputs = {"x": random(1, 4, 6, 6), "w": random(4, 5, 3, 3)}
    assert "weight is computed" in refusal("ConvTranspose", inputs, {})


def test_four_dimensions_are_refused() -> None:
    message = refusal("Conv", {"x": random(1, 2, 4, 4, 4, 4)}, {"w": random(3, 2, 2, 2, 2, 2)})
    assert "(1, 2, 4, 4, 4, 4) has 4 spatial axes; one to three are convolved" in message
