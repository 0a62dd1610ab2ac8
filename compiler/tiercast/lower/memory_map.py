"""A plan's activation memory as blocks in time and space, for reports."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tiercast.lower.plan import NUMPY_DTYPES, Plan, Tensor


@dataclass
class Block:
    """Arena bytes [offset, offset + size): they hold `name` from step `first` to `last`, both included."""

    name: str
    offset_bytes: int
    size_bytes: int
    first: int
    last: int

    @property
    def end_bytes(self) -> int:
        """The first byte after the block."""
        return self.offset_bytes + self.size_bytes


def extent_bytes(tensor: Tensor) -> int:
    """Bytes from a tensor's first to its last element, both included."""
    span = sum((dim - 1) * stride for dim, stride in zip(tensor.dims, tensor.strides, strict=True))
    return (span + 1) * NUMPY_DTYPES[tensor.dtype].itemsize


def dense_bytes(tensor: Tensor) -> int:
    """Bytes of a tensor's elements alone."""
    return math.prod(tensor.dims) * NUMPY_DTYPES[tensor.dtype].itemsize


def memory_map(plan: Plan) -> list[Block]:
    """The arena's blocks in order of their first step.

    A block opens when a step writes it and lasts until its last reader. Interleaved pieces of one buffer (a
    concat written in place) count as one block.
    """
    blocks: list[Block] = []
    live: list[Block] = []
    for number, step in enumerate(plan.steps):
        for index in step.inputs:
            if index >= 0 and plan.tensors[index].place == "arena":
                _read(live, plan.tensors[index], number)
        for index in step.outputs:
            if plan.tensors[index].place == "arena":
                _write(blocks, live, plan.tensors[index], number)
    return blocks


def _read(live: list[Block], tensor: Tensor, step: int) -> None:
    for block in live:
        if _touch(block, tensor):
            block.last = step


def _write(blocks: list[Block], live: list[Block], tensor: Tensor, step: int) -> None:
    interleaved = extent_bytes(tensor) > dense_bytes(tensor)
    for block in [block for block in live if _touch(block, tensor)]:
        if interleaved:
            end = max(block.end_bytes, tensor.offset + extent_bytes(tensor))
            block.offset_bytes = min(block.offset_bytes, tensor.offset)
            block.size_bytes, block.last = end - block.offset_bytes, step
            return
        live.remove(block)
    made = Block(tensor.name, tensor.offset, extent_bytes(tensor), step, step)
    blocks.append(made)
    live.append(made)


def _touch(block: Block, tensor: Tensor) -> bool:
    return tensor.offset < block.end_bytes and block.offset_bytes < tensor.offset + extent_bytes(tensor)
