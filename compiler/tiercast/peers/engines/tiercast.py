"""Tiercast itself: a package for the host, run by `tiercast.Session`."""

from __future__ import annotations

from pathlib import Path

from tiercast.peers.engines import Arrays, Subject

MODULE = "tiercast.session"
PACKAGES = ()
FILES = ("model.tcpkg",)


def convert(subject: Subject, folder: Path) -> None:
    """Compiles the ONNX export for the host."""
    import tiercast

    tiercast.compile(subject.onnx, target="host", output=folder / FILES[0])


class Engine:
    """`Session.run` copies the outputs out, so each call is complete."""

    def __init__(self, folder: Path, inputs: Arrays, expected: Arrays, threads: int) -> None:
        import tiercast

        self._session = tiercast.Session(folder / FILES[0], threads=threads)
        self._inputs = inputs
        self._results: Arrays = {}

    def __call__(self) -> None:
        self._results = self._session.run(self._inputs)

    def outputs(self) -> Arrays:
        """By the graph's own names."""
        return self._results
