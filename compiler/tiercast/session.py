"""Runs a package on this machine through the C++ runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from tiercast import _native
from tiercast.errors import PackageError, UsageError
from tiercast.extras import library_name, needed, read_extras
from tiercast.lower.plan import NUMPY_DTYPES
from tiercast.package.file import read_facts
from tiercast.target import CORES
from tiercast.text import shape_text


@dataclass(frozen=True)
class TensorSpec:
    """A model input or output: its name, numpy dtype and shape."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Bucket:
    """The inputs and outputs of a package at one choice of input shapes."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The inputs' shapes by name."""
        return {spec.name: spec.shape for spec in self.inputs}


class Session:
    """A loaded package. One thread may use it at a time.

    A package of several shape buckets (see `buckets`) runs the one whose input shapes are those of the arrays
    it is given; `inputs`, `outputs` and `steps` are the selected one's.

    pkg: path of a .tcpkg; threads: 1..64, 0 for as many as the package's target asks for; features: restricts
    the CPU features that kernels may use (default: all the CPU has), say ["avx2"] or [] for portable kernels
    only; cores: "all", "big" or "little", where the session's own threads run (default: what the package's
    target asks for); the calling thread stays where it may be. A package that calls extra kernels (custom
    ops) has their library beside it, in `<package>.kernels/`: it is loaded, so trust it like a program.
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
                str(self.path),
                threads,
                None if features is None else list(features),
                kind,
                extra_libraries(self.path),
            )
        except _native.NativeError as error:
            raise PackageError(str(error)) from None
        self.buckets = tuple(self._bucket(number) for number in range(self._native.bucket_count))
        self.select(0)

    def select(self, bucket: int) -> None:
        """Selects a shape bucket by its number; UsageError when there is none such. Allocates nothing."""
        try:
            self._native.select(bucket)
        except _native.NativeError as error:
            raise UsageError(str(error)) from None
        self.inputs, self.outputs = list(self.buckets[bucket].inputs), list(self.buckets[bucket].outputs)

    @property
    def bucket(self) -> int:
        """Number of the selected shape bucket."""
        return self._native.bucket

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name for inputs by name.

        Each input needs its exact name, dtype and a shape of a bucket (see `inputs` and `buckets`);
        UsageError says which one is wrong and how. Nothing is padded.
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
        self._select_for(inputs)
        return [self._checked(spec, inputs) for spec in self.inputs]

    def _select_for(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Selects the bucket of these shapes, where there are several and no input is missing."""
        if len(self.buckets) == 1 or any(spec.name not in inputs for spec in self.inputs):
            return
        shapes = {spec.name: np.shape(inputs[spec.name]) for spec in self.inputs}
        number = next((at for at, bucket in enumerate(self.buckets) if bucket.shapes == shapes), None)
        if number is None:
            buckets = "; ".join(_shapes_text(bucket.shapes) for bucket in self.buckets)
            raise UsageError(
                f"{self.path}: no bucket takes {_shapes_text(shapes)}; shapes must match exactly, nothing is "
                f"padded; its buckets: {buckets}"
            )
        if number != self.bucket:
            self.select(number)

    def _bucket(self, number: int) -> Bucket:
        self._native.select(number)
        return Bucket(
            tuple(_spec(port) for port in self._native.inputs),
            tuple(_spec(port) for port in self._native.outputs),
        )

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


def extra_libraries(package: Path) -> list[str]:
    """Files of the extra kernel libraries that a package calls; PackageError when they can't be had here."""
    folder = needed(package, read_facts(package))
    if folder is None:
        return []
    extras = read_extras(folder)
    file = folder / library_name(extras.digest)
    if not file.is_file():
        raise PackageError(
            f"{package}: the kernels in {folder} are sources for {extras.target}, no library for this "
            f"machine; run it with `tiercast run --target {extras.target}`, or compile it for host"
        )
    return [str(file.resolve())]


def _shapes_text(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return " ".join(f"{name} {shape_text(shape)}" for name, shape in shapes.items())


def _spec(port: tuple[str, str, list[int]]) -> TensorSpec:
    name, kind, dims = port
    return TensorSpec(name, NUMPY_DTYPES[kind], tuple(dims))
