"""Constants in 4 bits: bytes for arithmetic on integers, computed where they come in blocks."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from tiercast.passes.widen_int4 import widen_int4
from tiercast.pipeline import compile_plan

KINDS = {"INT4": (-8, 7), "UINT4": (0, 15)}


def quantized_conv(kind: str) -> onnx.ModelProto:
    """Quantize, dequantize, a convolution with weights in 4 bits by channel, quantize, dequantize."""
    low, high = KINDS[kind]
    whole = np.random.default_rng(0).integers(low, high + 1, (16, 8, 3, 3))
    code = getattr(onnx.TensorProto, kind)
    zero = [(low + high + 1) // 2] * 16
    constants = [
        helper.make_tensor("q", code, whole.shape, whole.ravel().tolist()),
        helper.make_tensor("z", code, (16,), zero),
        numpy_helper.from_array(np.linspace(0.01, 0.05, 16, dtype=np.float32), "s"),
        numpy_helper.from_array(np.float32(0.05), "step"),
        numpy_helper.from_array(np.int8(3), "zero"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "step", "zero"], ["xr"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=0),
        helper.make_node("Conv", ["xr", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("QuantizeLinear", ["c", "step", "zero"], ["cq"]),
        helper.make_node("DequantizeLinear", ["cq", "step", "zero"], ["y"]),
    ]
    ports = (("x", (1, 8, 6, 6)), ("y", (1, 16, 6, 6)))
    inputs, outputs = (
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, dims)] for name, dims in ports
    )
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def test_values_and_zero_points_become_bytes() -> None:
    for kind, wide in (("INT4", np.int8), ("UINT4", np.uint8)):
        model = ir.from_proto(quantized_conv(kind))
        before = model.graph.initializers["q"].const_value
        assert before is not None and len(widen_int4(model).applied) == 1
        node = next(node for node in model.graph if node.outputs[0].name == "w")
        values, _, zeros = (value.const_value.numpy() for value in node.inputs if value and value.const_value)
        assert values.dtype == zeros.dtype == wide
        np.testing.assert_array_equal(values, before.numpy().astype(wide))
        assert not widen_int4(model).applied


def test_convolutions_of_quantized_values_run_on_integers() -> None:
    steps = [step.op for step in compile_plan(quantized_conv("INT4"), "linux-arm64").plan.steps]
    assert any(op.startswith("quantized_conv2d") for op in steps)
