"""OpenVINO on the CPU, latency hint, precision held at f32 (where the CPU has bf16 it would take that)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tiercast.peers.engines import Arrays, Subject
from tiercast.peers.unsigned import write_unsigned

MODULE = "openvino"
PACKAGES = ("openvino",)
FILES = ("model.xml", "model.bin")


def convert(subject: Subject, folder: Path) -> None:
    """ONNX -> OpenVINO IR, weights kept as they are; of int8 with activations in u8."""
    import openvino

    source = subject.onnx
    if subject.calibration:
        source = folder / "unsigned.onnx"
        write_unsigned(subject.onnx, source)
    model = openvino.convert_model(source)
    openvino.save_model(model, folder / FILES[0], compress_to_fp16=False)


class Engine:
    """One infer request on shared input tensors."""

    def __init__(self, folder: Path, inputs: Arrays, expected: Arrays, threads: int) -> None:
        import openvino

        core = openvino.Core()
        config = {
            "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False, "INFERENCE_PRECISION_HINT": "f32",
        }  # fmt: skip
        self._compiled = core.compile_model(core.read_model(folder / FILES[0]), "CPU", config)
        self._request = self._compiled.create_infer_request()
        self._arrays = inputs  # a shared tensor does not own its array
        self._tensors = [
            openvino.Tensor(inputs[port.get_any_name()], shared_memory=True) for port in self._compiled.inputs
        ]
        self._names = list(expected)

    def __call__(self) -> None:
        for index, tensor in enumerate(self._tensors):
            self._request.set_input_tensor(index, tensor)
        self._request.infer()

    def outputs(self) -> Arrays:
        """IR keeps the order of the ONNX outputs."""
        ports = self._compiled.outputs
        return {
            name: np.array(self._request.get_tensor(port).data)
            for name, port in zip(self._names, ports, strict=True)
        }
