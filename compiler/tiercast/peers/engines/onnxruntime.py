"""onnxruntime, CPU provider, all graph optimisations."""

from __future__ import annotations

import shutil
from pathlib import Path

from tiercast.peers.engines import Array, Arrays, Subject
from tiercast.peers.unsigned import write_unsigned

MODULE = "onnxruntime"
PACKAGES = ("onnxruntime",)
FILES = ("model.onnx",)


def convert(subject: Subject, folder: Path) -> None:
    """Nothing to convert: it eats the ONNX export; of int8 with activations in u8."""
    if subject.calibration:
        write_unsigned(subject.onnx, folder / FILES[0])
    else:
        shutil.copyfile(subject.onnx, folder / FILES[0])


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
