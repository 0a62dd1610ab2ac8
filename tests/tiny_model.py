"""A small model for tests: convolutions, a residual and two activations, with seeded weights."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SHAPE = "image:1x3x16x16"  # fixes its open height and width


def tiny_model() -> onnx.ModelProto:
    """Stem, 1x1 with residual, head; outputs a mask."""
    random = np.random.default_rng(0)
    shapes = {"w0": (8, 3, 3, 3), "b0": (8,), "w1": (8, 8, 1, 1), "w2": (4, 8, 3, 3)}
    weights = [
        numpy_helper.from_array(random.standard_normal(dims).astype(np.float32) * 0.3, name)
        for name, dims in shapes.items()
    ]
    nodes = [
        helper.make_node(
            "Conv", ["image", "w0", "b0"], ["c0"], name="stem", pads=[1, 1, 1, 1], strides=[2, 2]
        ),
        helper.make_node("Relu", ["c0"], ["r0"], name="relu"),
        helper.make_node("Conv", ["r0", "w1"], ["c1"], name="mix"),
        helper.make_node("Add", ["c1", "r0"], ["a1"], name="add"),
        helper.make_node("Conv", ["a1", "w2"], ["c2"], name="head", pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["c2"], ["mask"], name="sigmoid"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "height", "width"])],
        [helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, 4, "h", "w"])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def with_empty_ports() -> onnx.ModelProto:
    """y = relu(x) [2,3]; an empty input, whose sums are zeros [4,1], and an empty output, cut from x."""
    nodes = [
        helper.make_node("Relu", ["x"], ["y"]),
        helper.make_node("ReduceSum", ["none", "axes"], ["zeros"]),
        helper.make_node("Slice", ["y", "begin", "end"], ["nothing"]),
    ]
    inputs = {"x": [2, 3], "none": [4, 0]}
    outputs = {"y": [2, 3], "zeros": [4, 1], "nothing": [0, 3]}
    graph = helper.make_graph(
        nodes,
        "empties",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in outputs.items()],
        [
            numpy_helper.from_array(np.array([value], np.int64), name)
            for name, value in {"axes": 1, "begin": 7, "end": 9}.items()
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
