"""The C++ runtime and the host's kernel library (runtime/python/bindings.cc)."""

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

class NativeError(Exception):
    """A refusal of the runtime; the text says where, what and which rule."""

    status: str
    """"argument" | "io" | "package" | "kernel" | "memory"."""

def cpu_features() -> list[str]:
    """What this CPU has, as kernels.toml names it."""

def peak_gflops() -> float:
    """GFLOP/s of one thread's f32 multiply-adds in registers, on this CPU's widest vectors; takes 0.1 s."""

def kernels() -> list[tuple[str, str, list[str]]]:
    """(name, op, needs) of every kernel in the library, rows of one op in order of merit."""

def check_package(path: str) -> None:
    """Verifies a package without binding it.

    NativeError when it is unreadable (status "io") or breaks a rule ("package").
    """

class Session:
    """An open package. One thread at a time may use it; the GIL is released while it runs."""

    def __init__(
        self,
        path: str,
        threads: int = 1,
        features: Sequence[str] | None = None,
        cores: int = 0,
        libraries: Sequence[str] = (),
    ) -> None:
        """threads: 1..64, 0 for what the package asks for; features: what kernels may use of the CPU at most,
        None for all; cores: a tc_cores, 0 for what the package asks for; libraries: files of extra kernel
        libraries, which are loaded and stay.

        NativeError on refusal.
        """

    @property
    def inputs(self) -> list[tuple[str, str, list[int]]]:
        """(name, dtype, dims) of each input."""

    @property
    def outputs(self) -> list[tuple[str, str, list[int]]]:
        """(name, dtype, dims) of each output."""

    @property
    def bucket(self) -> int:
        """Number of the selected shape bucket; ports, steps and runs are its."""

    @property
    def bucket_count(self) -> int: ...
    def select(self, bucket: int) -> None:
        """Selects a bucket by number; NativeError when there is none such, or while another thread runs."""

    def resize(self, shapes: Sequence[Sequence[int]]) -> None:
        """Selects the bucket whose inputs have exactly these shapes; NativeError lists them when none has."""

    @property
    def steps(self) -> list[dict[str, str]]:
        """name, op, kernel (what was bound) and chosen (what the plan asked for) of each step."""
    @property
    def threads(self) -> int:
        """Threads that share a run, the caller's among them."""
    @property
    def arena_bytes(self) -> int: ...
    @property
    def weights_bytes(self) -> int: ...
    @property
    def prepared_bytes(self) -> int: ...
    @property
    def prepare_steps(self) -> list[dict[str, str]]: ...
    @property
    def scratch_bytes(self) -> int: ...
    def run(self, inputs: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """New output arrays for C-contiguous input arrays in the order of `inputs`.

        NativeError on a wrong count, dtype or shape.
        """

    def run_tapped(
        self, inputs: Sequence[npt.NDArray[Any]]
    ) -> tuple[list[npt.NDArray[Any]], list[list[npt.NDArray[Any]]]]:
        """Like `run`, with a dense copy of each output of each step."""

    def run_timed(self, inputs: Sequence[npt.NDArray[Any]]) -> tuple[list[npt.NDArray[Any]], list[float]]:
        """Like `run`, with each step's wall time in microseconds."""

    def time_step(
        self, inputs: Sequence[npt.NDArray[Any]], index: int, seconds: float
    ) -> tuple[float, float]:
        """(minimum, median) CPU microseconds of one step run again and again for `seconds`, caches warm."""
