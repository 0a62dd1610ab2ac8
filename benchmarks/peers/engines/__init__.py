"""One file per engine: how a reference model is converted for it and run by it.

Each module has `PYTHON` (which environment runs it), `MODULE` (what a process imports before its memory is
measured), `FILES` (what ships, for the size column), `convert(name, folder)` and a class `Engine`.
A timed call hands over the input buffers, infers, and has the outputs in host memory, by the engine's own
low-overhead path. f32 means f32: reduced precision is off.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
NAMES = ("tiercast", "onnxruntime", "ncnn", "mnn", "litert", "openvino")
OURS = NAMES[0]


class Engine(Protocol):
    """A loaded model with its inputs."""

    def __init__(
        self, folder: Path, inputs: dict[str, Array], expected: dict[str, Array], threads: int
    ) -> None:
        """Loads what `convert` left in `folder`; `expected` gives the outputs' names, order and shapes."""

    def __call__(self) -> None:
        """One timed inference."""

    def outputs(self) -> dict[str, Array]:
        """Results of the last call, N C H W."""


class EngineModule(Protocol):
    """The interface of each file here."""

    PYTHON: str
    MODULE: str
    FILES: tuple[str, ...]
    Engine: type[Engine]

    def convert(self, name: str, folder: Path) -> None:
        """Writes the engine's files for model `name` into `folder`; raises what the converter raises."""


def engine(name: str) -> EngineModule:
    """The module of one engine; importing it does not import the engine."""
    return import_module(f"{__name__}.{name}")  # type: ignore[return-value]
