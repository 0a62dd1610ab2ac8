"""The plan: kernel calls over planned memory. It is what a package holds and what the runtime executes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import xxhash

from tiercast.ir.dtypes import NAMES

ALIGNMENT_BYTES = 64

# The element types the runtime holds, in the order of package.fbs's DType.
NUMPY_DTYPES: dict[str, np.dtype] = {name: kind.numpy() for kind, name in NAMES.items()}


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
    weights: bytes | bytearray = b""
    prepare: list[Step] = field(default_factory=list)
    prepared_bytes: int = 0
    facts: dict[str, str] = field(default_factory=dict)
    cores: str = "all"
    max_threads: int = 0


class WeightsSegment:
    """Collects constant arrays: C order, each aligned to ALIGNMENT_BYTES, equal bytes stored once."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._offsets: dict[bytes, int] = {}  # digest of the bytes -> where they lie

    @property
    def size_bytes(self) -> int:
        """Bytes of the segment so far."""
        return len(self._bytes)

    def add(self, array: np.ndarray) -> int:
        """The byte offset of the array's data."""
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        digest = xxhash.xxh3_128_digest(data.data)
        at = self._offsets.get(digest)
        if at is not None and self._holds(data, at):
            return at
        offset = self._offsets[digest] = len(self._bytes)
        self._bytes += data.data
        self._bytes += bytes(-len(self._bytes) % ALIGNMENT_BYTES)
        return offset

    def whole(self) -> bytearray:
        """The whole segment, not a copy: nothing may be added afterwards."""
        return self._bytes

    def _holds(self, data: np.ndarray, at: int) -> bool:
        return np.array_equal(np.frombuffer(self._bytes, np.uint8)[at : at + len(data)], data)
