"""One file per engine: how a model is converted for it and run by it.

Each module has `MODULE` (what a process imports before its memory is measured), `PACKAGES` (what pip installs
for it), `FILES` (what ships, for the size column), `convert(subject, folder)` and a class `Engine`.
A timed call hands over the input buffers, infers, and has the outputs in host memory, by the engine's own
low-overhead path. f32 means f32: reduced precision is off.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Protocol

from tiercast.peers.subject import Array, Arrays, Subject

NAMES = ("tiercast", "onnxruntime", "ncnn", "mnn", "litert", "executorch", "openvino")
OURS = NAMES[0]

__all__ = ["NAMES", "OURS", "Array", "Arrays", "Engine", "EngineModule", "Subject", "engine"]


class Engine(Protocol):
    """A loaded model with its inputs."""

    def __init__(self, folder: Path, inputs: Arrays, expected: Arrays, threads: int) -> None:
        """Loads what `convert` left in `folder`; `expected` gives the outputs' names, order and shapes."""

    def __call__(self) -> None:
        """One timed inference."""

    def outputs(self) -> Arrays:
        """Results of the last call, in the model's own order of dimensions."""


class EngineModule(Protocol):
    """The interface of each file here."""

    MODULE: str
    PACKAGES: tuple[str, ...]
    FILES: tuple[str, ...]
    Engine: type[Engine]

    def convert(self, subject: Subject, folder: Path) -> None:
        """Writes the engine's files into `folder`; raises what the converter raises."""


def engine(name: str) -> EngineModule:
    """The module of one engine; importing it does not import the engine."""
    module: EngineModule = import_module(f"{__name__}.{name}")
    return module
