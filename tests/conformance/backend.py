"""Tiercast as an ONNX backend: what `onnx.backend.test` and similar suites drive."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.base import Backend, BackendRep

from tiercast import Session, compile


class PackageRep(BackendRep):
    """A compiled model, loaded."""

    def __init__(self, package: Path) -> None:
        self._session = Session(package)

    def run(self, inputs: Any, **_: Any) -> tuple[Any, ...]:
        """Outputs in the model's order for inputs in the model's order."""
        names = [spec.name for spec in self._session.inputs]
        return tuple(self._session.run(dict(zip(names, inputs, strict=True))).values())


class TiercastBackend(Backend):
    """`prepare` compiles for this machine."""

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """The host's CPU only."""
        return device == "CPU"

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> PackageRep:
        """Compiles the model; TiercastError where it refuses."""
        super().prepare(model, device, **kwargs)
        with tempfile.TemporaryDirectory(prefix="tiercast-conformance-") as folder:
            return PackageRep(compile(model, output=Path(folder) / "model.tcpkg"))


def bind(model: onnx.ModelProto, constants: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """A copy whose graph inputs `constants` are initializers: a static compiler needs them ahead."""
    bound = onnx.ModelProto()
    bound.CopyFrom(model)
    kept = [value for value in bound.graph.input if value.name not in constants]
    del bound.graph.input[:]
    bound.graph.input.extend(kept)
    bound.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    return bound


def input_names(model: onnx.ModelProto) -> Sequence[str]:
    """Names of the graph inputs that are no initializers, in order."""
    known = {tensor.name for tensor in model.graph.initializer}
    return [value.name for value in model.graph.input if value.name not in known]
