"""Activations in u8 are the same numbers as in s8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tiercast.peers.unsigned import write_unsigned

onnxruntime = pytest.importorskip("onnxruntime")


def _run(path: Path, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return np.asarray(onnxruntime.InferenceSession(path, options).run(None, {"x": x})[0])


def test_activations_become_unsigned_and_weights_stay(tmp_path: Path) -> None:
    constants = {
        "s": np.float32(0.1), "z": np.int8(-7), "w": np.array([[3], [-5]], np.int8), "ws": np.float32(0.5),
        "wz": np.int8(0),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"]),
        helper.make_node("MatMul", ["d", "wd"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    source, made = tmp_path / "s8.onnx", tmp_path / "u8.onnx"
    opsets = [helper.make_opsetid("", 21)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), source)
    write_unsigned(source, made)
    types = {constant.name: constant.data_type for constant in onnx.load(made).graph.initializer}
    assert types["z"] == TensorProto.UINT8 and types["w"] == types["wz"] == TensorProto.INT8
    x = np.linspace(-20, 20, 8, dtype=np.float32).reshape(4, 2)  # saturates at both ends
    assert np.array_equal(_run(made, x), _run(source, x))
