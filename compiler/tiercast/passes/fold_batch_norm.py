"""Folds batch norm, and any per-channel scale and shift, into the convolution or Gemm before it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import array, erase, new_constant, only_user, remove_dead, static_shape, take_over
from tiercast.ir.report import PassReport

_PRODUCERS = ("Conv", "ConvTranspose", "Gemm")


@dataclass(frozen=True)
class _Affine:
    """y = scale * x + shift per channel; `source` is x, `axis` its channel axis."""

    source: ir.Value
    scale: np.ndarray
    shift: np.ndarray
    axis: int


def fold_batch_norm(model: ir.Model) -> PassReport:
    """Folds BatchNormalization and constant per-channel Mul, Div, Add, Sub into the weights before them, in
    place.

    Transposes between them are looked through, since TensorFlow's channels come last. What the node reads
    takes over the name of its output.
    """
    report = PassReport("fold_batch_norm")
    for node in list(model.graph):
        found = _affine(node)
        if found is None:
            continue
        affine, producer = found
        refusal = _refusal(producer, affine)
        if refusal is not None:
            report.refuse(node, refusal)
            continue
        _fold(model.graph, producer, affine)
        take_over(node.outputs[0], affine.source)
        erase(model.graph, [node])
        report.apply(node, f"folded into {producer.op_type} {producer.name!r}")
    remove_dead(model.graph)
    return report


def _refusal(producer: ir.Node, affine: _Affine) -> str | None:
    if any(only_user(value) is None for value in _behind(affine.source)):
        return f"the {producer.op_type}'s result is used elsewhere too"
    if array(producer.inputs[1]) is None:
        return f"the {producer.op_type}'s weights are not constant"
    bias = producer.inputs[2] if len(producer.inputs) > 2 else None
    if bias is not None and array(bias) is None:
        return f"the {producer.op_type}'s bias is not constant"
    if (
        producer.op_type == "Gemm"
        and bias is not None
        and math.prod(static_shape(bias) or (0,)) not in (1, affine.scale.size)
    ):
        return "the Gemm's addend is no row"
    return None


def _affine(node: ir.Node) -> tuple[_Affine, ir.Node] | None:
    """What the node computes, where that is per channel of a producer's result, and the producer."""
    if node.domain != "":
        return None
    if node.op_type == "BatchNormalization":
        affine = _batch_norm(node)
    elif node.op_type in ("Mul", "Div", "Add", "Sub") and len(node.inputs) == 2:
        affine = _arithmetic(node)
    else:
        return None
    producer = _behind(affine.source)[-1].producer() if affine is not None else None
    if affine is None or producer is None or producer.domain or producer.op_type not in _PRODUCERS:
        return None
    return (affine, producer) if affine.axis == _channel_axis(affine.source) else None


def _behind(value: ir.Value) -> list[ir.Value]:
    """The value, and those that it is a transpose of; the last comes from something else."""
    found = [value]
    while True:
        producer = found[-1].producer()
        if (
            producer is None
            or producer.domain
            or producer.op_type != "Transpose"
            or producer.inputs[0] is None
        ):
            return found
        found.append(producer.inputs[0])


def _channel_axis(value: ir.Value) -> int:
    """Where the channels are that the last of `_behind` has on axis 1."""
    axis = 1
    for item in reversed(_behind(value)[:-1]):
        node = item.producer()
        assert node is not None and item.shape is not None
        perm = (
            node.attributes["perm"].as_ints() if "perm" in node.attributes else range(len(item.shape))[::-1]
        )
        axis = list(perm).index(axis)
    return axis


def _batch_norm(node: ir.Node) -> _Affine | None:
    values = [array(value) for value in node.inputs[1:5]]
    training = "training_mode" in node.attributes and node.attributes["training_mode"].as_int()
    source = node.inputs[0]
    if source is None or training or len(values) != 4:
        return None
    wide = [value.astype(np.float64) for value in values if value is not None]
    if len(wide) != 4:
        return None
    gamma, beta, mean, variance = wide
    epsilon = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
    scale = gamma / np.sqrt(variance + epsilon)
    return _Affine(source, scale, beta - mean * scale, 1)


def _arithmetic(node: ir.Node) -> _Affine | None:
    """x op constant, or constant op x, where the constant is one number per channel."""
    for index in (0, 1):
        source, data = node.inputs[index], array(node.inputs[1 - index])
        if source is None or data is None or data.dtype != np.float32 or array(source) is not None:
            continue
        if static_shape(source) != static_shape(node.outputs[0]) or (node.op_type == "Div" and index == 1):
            return None
        axis = _channel_axis(source)
        vector = _per_channel(data, static_shape(source) or (), axis)
        if vector is None:
            return None
        one, zero = np.ones_like(vector), np.zeros_like(vector)
        if node.op_type == "Mul":
            return _Affine(source, vector, zero, axis)
        if node.op_type == "Div":
            return _Affine(source, one / vector, zero, axis) if np.all(vector) else None
        if node.op_type == "Add":
            return _Affine(source, one, vector, axis)
        sign = 1 if index == 0 else -1
        return _Affine(source, sign * one, -sign * vector, axis)
    return None


def _per_channel(data: np.ndarray, shape: tuple[int, ...], axis: int) -> np.ndarray | None:
    """`data` as one float64 per channel when it broadcasts to `shape` along the channel axis only."""
    if data.ndim > len(shape) or len(shape) < 2:
        return None
    dims = (1,) * (len(shape) - data.ndim) + data.shape
    if any(size != 1 for index, size in enumerate(dims) if index != axis):
        return None
    return np.broadcast_to(data.astype(np.float64).reshape(-1), (shape[axis],)).copy()


def _fold(graph: ir.Graph, producer: ir.Node, affine: _Affine) -> None:
    weight = array(producer.inputs[1])
    assert weight is not None
    bias = array(producer.inputs[2]) if len(producer.inputs) > 2 else None
    attributes = producer.attributes
    beta = attributes["beta"].as_float() if "beta" in attributes else 1.0
    before = (bias.astype(np.float64) * beta).reshape(-1) if bias is not None else np.zeros(1)
    new_bias = before * affine.scale + affine.shift
    stem = producer.outputs[0].name or producer.op_type
    scaled = (weight * _weight_scale(producer, weight, affine.scale)).astype(weight.dtype)
    inputs = [producer.inputs[0], new_constant(graph, f"{stem}.weight", scaled)]
    inputs.append(new_constant(graph, f"{stem}.bias", new_bias.astype(weight.dtype)))
    producer.resize_inputs(3)
    for index, value in enumerate(inputs):
        producer.replace_input_with(index, value)
    if "beta" in attributes:
        attributes["beta"] = ir.AttrFloat32("beta", 1.0)


def _weight_scale(producer: ir.Node, weight: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The per-output-channel scale, shaped to multiply the weights."""
    spatial = (1,) * (weight.ndim - 2)
    if producer.op_type == "Conv":
        return scale.reshape(-1, 1, *spatial)
    if producer.op_type == "Gemm":
        transposed = "transB" in producer.attributes and producer.attributes["transB"].as_int()
        return scale.reshape(-1, 1) if transposed else scale.reshape(1, -1)
    group = producer.attributes["group"].as_int() if "group" in producer.attributes else 1
    per_group = scale.reshape(
        group, 1, -1
    )  # weights are [C, OC/g, ...]: every input channel of a group sees its slice
    rows = np.repeat(per_group, weight.shape[0] // group, axis=1)
    return rows.reshape(weight.shape[0], weight.shape[1], *spatial)
