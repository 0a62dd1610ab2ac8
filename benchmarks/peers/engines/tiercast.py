"""Tiercast itself: a package for the host, run by `tiercast.Session`."""

from __future__ import annotations

from pathlib import Path

from benchmarks.models.export_onnx import CACHE

from . import Array

PYTHON = "project"
MODULE = "tiercast.session"
FILES = ("model.tcpkg",)


def convert(name: str, folder: Path) -> None:
    """Compiles the ONNX export for the host."""
    import tiercast

    tiercast.compile(CACHE / f"{name}.onnx", target="host", output=folder / FILES[0])


class Engine:
    """`Session.run` copies the outputs out, so each call is complete."""

    def __init__(
        self, folder: Path, inputs: dict[str, Array], expected: dict[str, Array], threads: int
    ) -> None:
        import tiercast

        self._session = tiercast.Session(folder / FILES[0], threads=threads)
        self._inputs = inputs
        self._results: dict[str, Array] = {}

    def __call__(self) -> None:
        self._results = self._session.run(self._inputs)

    def outputs(self) -> dict[str, Array]:
        """By the graph's own names."""
        return self._results
