"""Runs a package on this machine through the C++ runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from tiercast import _native
from tiercast.errors import PackageError, UsageError
from tiercast.lower.plan import NUMPY_DTYPES
from tiercast.target import CORES


@dataclass(frozen=True)
class TensorSpec:
    """A model input or output: its name, numpy dtype and shape."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]


class Session:
    """A loaded package. One thread may use it at a time.

    pkg: path of a .tcpkg; threads: 1..64, 0 for as many as the package's target asks for; features: restricts
    the CPU features that kernels may use (default: all the CPU has), say ["avx2"] or [] for portable kernels
    only; cores: "all", "big" or "little", where the session's own threads run (default: what the package's
    target asks for); the calling thread stays where it may be.
    Raises PackageError when the package can't be read, fails verification or needs a kernel that is not
    there.
    """

    def __init__(
        self,
        pkg: str | PathLike[str],
        threads: int = 1,
        features: Sequence[str] | None = None,
        cores: str | None = None,
    ) -> None:
        self.path = Path(pkg)
        if cores is not None and cores not in CORES:
            raise UsageError(f"cores {cores!r} is unknown; there are {', '.join(CORES)}")
        kind = 0 if cores is None else CORES.index(cores) + 1
        try:
            self._native = _native.Session(
                str(self.path), threads, None if features is None else list(features), kind
            )
        except _native.NativeError as error:
            raise PackageError(str(error)) from None
        self.inputs = [_spec(port) for port in self._native.inputs]
        self.outputs = [_spec(port) for port in self._native.outputs]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name for inputs by name.

        Each input needs its exact name, dtype and shape (see `inputs`); UsageError says which one is wrong
        and how.
        """
        results = self._native.run(self._ordered(inputs))
        return self._named(results)

    def run_timed(self, inputs: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[float]]:
        """Like `run`, with each step's wall time in microseconds."""
        results, times_us = self._native.run_timed(self._ordered(inputs))
        return self._named(results), times_us

    def time_step(self, inputs: Mapping[str, np.ndarray], index: int, seconds: float) -> tuple[float, float]:
        """(minimum, median) CPU microseconds of step `index`, run again and again for `seconds`."""
        return self._native.time_step(self._ordered(inputs), index, seconds)

    def run_tapped(
        self, inputs: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], list[list[np.ndarray]]]:
        """Like `run`, with a dense copy of each step's outputs (in the order they lie in memory)."""
        results, taps = self._native.run_tapped(self._ordered(inputs))
        return self._named(results), taps

    @property
    def steps(self) -> list[dict[str, str]]:
        """name, op, kernel (bound now) and chosen (at compile time) of each step."""
        return self._native.steps

    @property
    def threads(self) -> int:
        """Threads that share a run, the caller's among them."""
        return self._native.threads

    @property
    def prepare_steps(self) -> list[dict[str, str]]:
        """Like `steps`, of those that ran once, when the session opened."""
        return self._native.prepare_steps

    @property
    def arena_bytes(self) -> int:
        """Bytes of activation memory."""
        return self._native.arena_bytes

    @property
    def weights_bytes(self) -> int:
        """Bytes of the weights segment, mapped from the file."""
        return self._native.weights_bytes

    @property
    def prepared_bytes(self) -> int:
        """Bytes of constants made from the weights when the session opened."""
        return self._native.prepared_bytes

    def _ordered(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        known = [spec.name for spec in self.inputs]
        for name in inputs:
            if name not in known:
                raise UsageError(
                    f"{self.path}: it has no input {name!r}; its inputs: {', '.join(map(str, self.inputs))}"
                )
        return [self._checked(spec, inputs) for spec in self.inputs]

    def _checked(self, spec: TensorSpec, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        if spec.name not in inputs:
            raise UsageError(f"{self.path}: input {spec.name!r} of shape {spec.shape} is missing")
        array = np.asarray(inputs[spec.name])
        if array.dtype != spec.dtype:
            raise UsageError(
                f"{self.path}: input {spec.name!r} must be {spec.dtype}, got {array.dtype}; "
                "convert it with .astype"
            )
        if array.shape != spec.shape:
            raise UsageError(
                f"{self.path}: input {spec.name!r} must have shape {spec.shape}, got {array.shape}"
            )
        return np.ascontiguousarray(array).reshape(spec.shape)

    def _named(self, results: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        return {spec.name: array for spec, array in zip(self.outputs, results, strict=True)}


def _spec(port: tuple[str, str, list[int]]) -> TensorSpec:
    name, kind, dims = port
    return TensorSpec(name, NUMPY_DTYPES[kind], tuple(dims))
