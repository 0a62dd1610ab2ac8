"""onnxruntime, CPU provider, all graph optimisations."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.models.export_onnx import CACHE

from . import Array

PYTHON = "peers"
MODULE = "onnxruntime"
FILES = ("model.onnx",)


def convert(name: str, folder: Path) -> None:
    """Nothing to convert: it eats the ONNX export."""
    shutil.copyfile(CACHE / f"{name}.onnx", folder / FILES[0])


class Engine:
    """`InferenceSession.run` on the dictionary of inputs."""

    def __init__(
        self, folder: Path, inputs: dict[str, Array], expected: dict[str, Array], threads: int
    ) -> None:
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

    def outputs(self) -> dict[str, Array]:
        """By name."""
        return dict(zip(self._names, self._results, strict=True))
