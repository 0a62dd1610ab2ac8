"""onnxruntime, CPU provider, all graph optimisations."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from tiercast.peers.engines import Array, Arrays, Subject

MODULE = "onnxruntime"
PACKAGES = ("onnxruntime",)
FILES = ("model.onnx",)


def convert(subject: Subject, folder: Path) -> None:
    """Nothing to convert: it eats the ONNX export; of int8 with activations in u8."""
    if subject.calibration:
        _write_unsigned(subject.onnx, folder / FILES[0])
    else:
        shutil.copyfile(subject.onnx, folder / FILES[0])


def _write_unsigned(source: Path, target: Path) -> None:
    """The same quantized model with s8 activations as u8: zero points 128 higher, nothing else changes.

    Its kernels for x86 want that: 1.31 rewrites models so itself, but fails where it had first moved a
    QuantizeLinear over a reshape ("output_dtype INT8 does not match y_zero_point type UINT8").
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


class Engine:
    """`InferenceSession.run` on the dictionary of inputs."""

    def __init__(self, folder: Path, inputs: Arrays, expected: Arrays, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self._session = onnxruntime.InferenceSession(
            folder / FILES[0], options, providers=["CPUExecutionProvider"]
        )
        self._names, self._inputs = list(expected), inputs
        self._results: list[Array] = []

    def __call__(self) -> None:
        self._results = self._session.run(self._names, self._inputs)

    def outputs(self) -> Arrays:
        """By name."""
        return dict(zip(self._names, self._results, strict=True))
