"""Quantized ONNX models with activations in u8, which the peers' kernels for x86 are made for."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_unsigned(source: Path, target: Path) -> None:
    """The same quantized model with s8 activations as u8: zero points 128 higher, nothing else changes.

    onnxruntime 1.31 rewrites models so itself, but fails where it had first moved a QuantizeLinear over a
    reshape ("output_dtype INT8 does not match y_zero_point type UINT8"). OpenVINO 2026.4 computes s8
    activations as fast, but up to 20 dB less exactly.
    """
    import onnx

    model = onnx.load(source)
    constants = {constant.name: constant for constant in model.graph.initializer}
    steps = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    points = {node.input[2] for node in steps if len(node.input) > 2 and node.input[0] not in constants}
    for name in points:
        value = onnx.numpy_helper.to_array(constants[name])
        if value.dtype == np.int8:
            raised = (value.astype(np.int32) + 128).astype(np.uint8)
            constants[name].CopyFrom(onnx.numpy_helper.from_array(raised, name))
    del model.graph.value_info[:]  # they tell the old types
    onnx.save(model, target)
