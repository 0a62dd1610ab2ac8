"""The drawn memory map: blocks live from their writer to their last reader, pieces of a concat are one."""

from __future__ import annotations

from tiercast.lower.memory_map import memory_map
from tiercast.lower.plan import Plan, Step, Tensor


def plan(tensors: list[Tensor], steps: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> Plan:
    """A plan of steps given as (inputs, outputs)."""
    made = [
        Step(f"s{number}", "op", "kernel", (), ins, outs, b"", 0, 0)
        for number, (ins, outs) in enumerate(steps)
    ]
    return Plan("host", tensors, made)


def arena(name: str, offset: int, dims: tuple[int, ...] = (16,), strides: tuple[int, ...] = (1,)) -> Tensor:
    """An f32 tensor in the arena."""
    return Tensor(name, "f32", dims, strides, "arena", offset)


def test_a_block_ends_with_its_last_reader_and_its_bytes_are_used_again() -> None:
    tensors = [arena("a", 0), arena("b", 64), arena("c", 0)]
    blocks = memory_map(plan(tensors, [((), (0,)), ((0,), (1,)), ((1,), (2,)), ((2, 1), ())]))
    assert [(block.name, block.offset_bytes, block.first, block.last) for block in blocks] == [
        ("a", 0, 0, 1),
        ("b", 64, 1, 3),
        ("c", 0, 2, 3),
    ]
    assert all(block.size_bytes == 64 for block in blocks)


def test_interleaved_pieces_of_a_concat_are_one_block() -> None:
    left, right = arena("left", 0, (4, 2), (4, 1)), arena("right", 8, (4, 2), (4, 1))
    blocks = memory_map(plan([left, right, arena("both", 0)], [((), (0,)), ((), (1,)), ((2,), ())]))
    assert [(block.name, block.size_bytes, block.first, block.last) for block in blocks] == [
        ("left", 64, 0, 2)
    ]


def test_in_place_writes_open_a_new_block() -> None:
    blocks = memory_map(plan([arena("x", 0), arena("y", 0)], [((), (0,)), ((0,), (1,)), ((1,), ())]))
    assert [(block.name, block.first, block.last) for block in blocks] == [("x", 0, 1), ("y", 1, 2)]


def test_ports_and_weights_are_not_in_the_arena() -> None:
    outside = Tensor("x", "f32", (16,), (1,), "input", 0)
    assert memory_map(plan([outside, Tensor("y", "f32", (16,), (1,), "output", 0)], [((0,), (1,))])) == []
