"""The plan: kernel calls over planned memory. It is what a package holds and what the runtime executes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

ALIGNMENT_BYTES = 64

# The element types the runtime holds, in the order of package.fbs's DType.
NUMPY_DTYPES: dict[str, np.dtype] = {
    "f32": np.dtype(np.float32),
    "f16": np.dtype(np.float16),
    "s8": np.dtype(np.int8),
    "u8": np.dtype(np.uint8),
    "s32": np.dtype(np.int32),
    "s64": np.dtype(np.int64),
    "bool": np.dtype(np.bool_),
}


@dataclass(frozen=True)
class Tensor:
    """One operand's place. dims and strides in elements, offset in bytes from the start of its place.

    place: "arena" | "weights" | "input" | "output" | "prepared"; index: which input or output.
    source and perm: the model's value it holds, tensor == transpose(value, perm).
    """

    name: str
    dtype: str
    dims: tuple[int, ...]
    strides: tuple[int, ...]
    place: str
    offset: int
    index: int = 0
    source: str = ""
    perm: tuple[int, ...] = ()


@dataclass(frozen=True)
class Step:
    """One kernel call; operands are tensor numbers, -1 for an absent one.

    refused, better: see `kernel.Choice`.
    """

    name: str
    op: str
    kernel: str
    refused: tuple[str, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    params: bytes
    scratch_bytes: int
    macs: int
    better: tuple[str, ...] = ()


@dataclass(frozen=True)
class Port:
    """A model input or output: its name, dtype and dense dims in the model's own order."""

    name: str
    dtype: str
    dims: tuple[int, ...]


@dataclass
class Plan:
    """A whole model for one target.

    weights: the weights segment; prepare: steps run once when a session opens, which fill the
    `prepared_bytes` of place "prepared" from it; cores, max_threads: the target's (`target.Target`).
    """

    target: str
    tensors: list[Tensor] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)
    arena_bytes: int = 0
    weights: bytes = b""
    prepare: list[Step] = field(default_factory=list)
    prepared_bytes: int = 0
    facts: dict[str, str] = field(default_factory=dict)
    cores: str = "all"
    max_threads: int = 0


class WeightsSegment:
    """Collects constant arrays: C order, each aligned to ALIGNMENT_BYTES, equal bytes stored once."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._offsets: dict[bytes, int] = {}
        self.size_bytes = 0

    def add(self, array: np.ndarray) -> int:
        """The byte offset of the array's data."""
        data = np.ascontiguousarray(array).tobytes()
        if data not in self._offsets:
            self._offsets[data] = self.size_bytes
            padding = -len(data) % ALIGNMENT_BYTES
            self._chunks += [data, bytes(padding)]
            self.size_bytes += len(data) + padding
        return self._offsets[data]

    def tobytes(self) -> bytes:
        """The whole segment."""
        return b"".join(self._chunks)
