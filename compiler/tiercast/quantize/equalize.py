"""Cross-layer equalisation: channels of two convolutions in a row get ranges alike, the float result
unchanged.

After Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019. As our
weights have a scale for each output channel, what matters of the first layer is not its weights' range but
its result's, which shares one scale: channel i is divided by s_i = sqrt(magnitude_i / weight_i), both
relative to their largest, where magnitude_i is the largest |value| seen and weight_i the largest |weight|
that reads it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import array, new_constant, only_user, remove_dead
from tiercast.ir.report import name_of
from tiercast.quantize.observe import Seen

_MOST = 64.0  # of a factor: beyond it the other layer's weights suffer


def equalize_layers(model: ir.Model, seen: Mapping[str, Seen]) -> list[str]:
    """Rescales pairs conv [-> relu, leaky relu] -> conv of a graph in place; the pairs' names ("a -> b").

    seen: what each value between two convolutions is (`observe`), by name.
    """
    done = []
    for node in list(model.graph):
        pair = _pair(node)
        if pair is None:
            continue
        second, between = pair
        found = seen.get(between.name or "")
        if found is not None and _rescale(model.graph, node, second, found.magnitudes):
            done.append(f"{name_of(node)} -> {name_of(second)}")
    remove_dead(model.graph)
    return done


def between_layers(graph: ir.Graph) -> list[str]:
    """Names of the values between two convolutions that `equalize_layers` wants to know."""
    pairs = [pair for node in graph if (pair := _pair(node)) is not None]
    return [between.name or "" for _, between in pairs]


def _pair(node: ir.Node) -> tuple[ir.Node, ir.Value] | None:
    """The convolution that alone reads this convolution's result, and the value that it reads."""
    if node.op_type != "Conv" or array(node.inputs[1]) is None or not _constant_bias(node):
        return None
    value = node.outputs[0]
    user = only_user(value)
    if user is not None and user.op_type in ("Relu", "LeakyRelu") and user.domain == "":
        value = user.outputs[0]
        user = only_user(value)
    if user is None or user.op_type != "Conv" or user.inputs[0] is not value or array(user.inputs[1]) is None:
        return None
    return user, value


def _constant_bias(node: ir.Node) -> bool:
    return len(node.inputs) < 3 or node.inputs[2] is None or array(node.inputs[2]) is not None


def _rescale(graph: ir.Graph, first: ir.Node, second: ir.Node, magnitudes: np.ndarray) -> bool:
    one, two = array(first.inputs[1]), array(second.inputs[1])
    assert one is not None and two is not None
    groups = second.attributes["group"].as_int() if "group" in second.attributes else 1
    reading = _read_by_channel(two, groups)
    channels = one.shape[0]
    if len(magnitudes) != channels or reading.shape[0] != channels:
        return False
    factors = _factors(magnitudes.astype(np.float64), reading)
    if np.allclose(factors, 1.0):
        return False
    column = factors.reshape(-1, *[1] * (one.ndim - 1))
    _replace(graph, first, 1, (one / column).astype(np.float32))
    if len(first.inputs) > 2 and first.inputs[2] is not None:
        bias = array(first.inputs[2])
        assert bias is not None
        _replace(graph, first, 2, (bias / factors).astype(np.float32))
    scaled = two.reshape(groups, -1, *two.shape[1:]) * factors.reshape(groups, 1, -1, *[1] * (two.ndim - 2))
    _replace(graph, second, 1, scaled.reshape(two.shape).astype(np.float32))
    return True


def _read_by_channel(weight: np.ndarray, groups: int) -> np.ndarray:
    """The largest |weight| [C] that reads each input channel of a convolution [O, C / groups, ...]."""
    parts = np.abs(weight).reshape(groups, -1, weight.shape[1], *weight.shape[2:])
    largest: np.ndarray = parts.max(axis=(1, *range(3, parts.ndim))).reshape(-1)
    return largest.astype(np.float64)


def _factors(magnitudes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    live = (magnitudes > 0) & (weights > 0)
    if not live.any():
        return np.ones_like(magnitudes)
    relative = np.where(
        live, (magnitudes / magnitudes.max()) / np.maximum(weights / weights.max(), 1e-12), 1.0
    )
    factors = np.sqrt(np.maximum(relative, 1e-12))
    return np.where(live, np.clip(factors, 1 / _MOST, _MOST), 1.0)


def _replace(graph: ir.Graph, node: ir.Node, at: int, data: np.ndarray) -> None:
    old = node.inputs[at]
    node.replace_input_with(
        at, new_constant(graph, f"{old.name if old is not None else 'weight'}.equal", data)
    )
