"""Windows instead of copies: which value lives inside which, and why another may not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lower.physical import PhysicalGraph
from tiercast.lower.lowering import lower_graph
from tiercast.lower.storage import Storage, StoragePlan, is_dense, place_values
from tiercast.ops.registry import dense_strides, shape
from tiercast.package.file import write_package
from tiercast.target import find_target


def place(graph: PhysicalGraph, *outputs: ir.Value) -> StoragePlan:
    return place_values(graph.model(*outputs).graph)


def reasons(plan: StoragePlan) -> list[str]:
    return list(plan.copies.values())


def test_channel_concat_is_written_in_place() -> None:
    graph = PhysicalGraph()
    x = graph.input(1, 4, 4, 8)
    left, right = graph.relu(x), graph.relu(graph.relu(x))
    joined = graph.concat([left, right], axis=3)
    plan = place(graph, graph.relu(joined))
    assert not plan.copies
    strides = (256, 64, 16, 1)
    assert plan.of[left] == Storage(joined, 0, strides)
    assert plan.of[right] == Storage(joined, 8, strides)
    assert plan.of[joined] == Storage(joined, 0, strides)


def test_nested_concats_share_the_outermost_buffer() -> None:
    graph = PhysicalGraph()
    x = graph.input(1, 2, 2, 3)
    a, b, c = graph.relu(x), graph.relu(x), graph.relu(x)
    inner = graph.concat([a, b], axis=3)
    outer = graph.concat([c, inner], axis=3)
    plan = place(graph, graph.relu(outer))
    assert not plan.copies
    assert [plan.of[v].offset for v in (c, inner, a, b)] == [0, 3, 3, 6]
    assert all(plan.of[v].root is outer and plan.of[v].strides == (36, 18, 9, 1) for v in (a, b, c, inner))


def test_channel_split_is_a_window_for_readers_that_take_strides() -> None:
    graph = PhysicalGraph()
    x = graph.input(1, 2, 2, 8)
    part = graph.slice(x, axis=3, start=5, size=3)
    plan = place(graph, graph.relu(part))
    assert not plan.copies
    assert plan.of[part] == Storage(x, 5, (32, 16, 8, 1))


def test_slice_of_the_outermost_axis_is_dense_for_anyone() -> None:
    graph = PhysicalGraph()
    x = graph.input(6, 4)
    part = graph.slice(x, axis=0, start=2, size=3)
    plan = place(graph, graph.reverse(part))
    assert not plan.copies
    assert plan.of[part] == Storage(x, 8, (4, 1))


def test_slice_of_a_slice_adds_up() -> None:
    graph = PhysicalGraph()
    x = graph.input(1, 8, 8, 8)
    part = graph.slice(graph.slice(x, 1, 2, 5), 3, 1, 4)
    plan = place(graph, graph.relu(part))
    assert not plan.copies
    assert plan.of[part] == Storage(x, 2 * 64 + 1, (512, 64, 8, 1))


def test_reshape_is_free_and_follows_its_source_into_a_window() -> None:
    graph = PhysicalGraph()
    x = graph.input(4, 6)
    flat = graph.reshape(graph.slice(x, 0, 1, 2), (12,))
    plan = place(graph, graph.relu(flat))
    assert not plan.copies
    assert plan.of[flat] == Storage(x, 6, (1,))


def test_reshape_of_a_strided_window_copies() -> None:
    # The slice itself stays dense: its reader, the reshape, can't read strides.
    graph = PhysicalGraph()
    flat = graph.reshape(graph.slice(graph.input(4, 6), 1, 1, 2), (8,))
    assert reasons(place(graph, graph.relu(flat))) == ["Reshape can't read a strided window"]


def test_slice_for_a_dense_reader_copies() -> None:
    graph = PhysicalGraph()
    part = graph.slice(graph.input(4, 6), 1, 1, 2)
    assert reasons(place(graph, graph.reverse(part))) == ["Copy can't read a strided window"]


def test_graph_output_is_dense() -> None:
    graph = PhysicalGraph()
    part = graph.slice(graph.input(4, 6), 1, 1, 2)
    assert reasons(place(graph, part)) == ["a graph output must be dense"]


def test_concat_names_why_a_piece_is_copied() -> None:
    graph = PhysicalGraph()
    x = graph.input(2, 3)
    once, shown, dense_read = graph.relu(x), graph.relu(x), graph.relu(x)
    part = graph.slice(once, 1, 0, 2)
    joined = graph.concat([x, once, once, shown, dense_read, part], axis=1)
    plan = place(graph, graph.relu(joined), shown, graph.reverse(dense_read))
    assert reasons(plan) == [
        "it is a graph input or a constant",
        "it stands twice in the concat",
        "it stands twice in the concat",
        "it is a graph output",
        "Copy can't read a strided window",
        "it is a window (Slice)",
    ]


def test_a_value_joins_only_one_concat_in_place() -> None:
    graph = PhysicalGraph()
    a = graph.relu(graph.input(2, 3))
    first, second = graph.concat([a, graph.relu(a)], axis=1), graph.concat([graph.relu(a), a], axis=1)
    plan = place(graph, graph.relu(first), graph.relu(second))
    assert reasons(plan) == ["it is already placed elsewhere"]


@given(st.lists(st.integers(1, 6), max_size=5))
def test_dense_strides_are_numpys(dims: list[int]) -> None:
    strides = dense_strides(dims)
    assert strides == tuple(step // 4 for step in np.empty(dims, np.float32).strides)
    assert is_dense(dims, strides)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[PhysicalGraph, list[ir.Value]]:
    """Random data-only graphs with elementwise (strided) and reversing (dense) steps between."""
    graph = PhysicalGraph()
    pool = [
        graph.input(*draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
        for _ in range(draw(st.integers(1, 2)))
    ]
    for _ in range(draw(st.integers(1, 9))):
        x = draw(st.sampled_from(pool))
        dims = shape(x)
        axis = draw(st.integers(0, len(dims) - 1))
        match draw(
            st.sampled_from(["relu", "relu", "reverse", "reshape", "slice", "slice", "concat", "concat"])
        ):
            case "relu":
                pool.append(graph.relu(x))
            case "reverse":
                pool.append(graph.reverse(x))
            case "reshape":
                cut = draw(st.integers(0, len(dims)))
                pool.append(graph.reshape(x, [int(np.prod(dims[:cut])), int(np.prod(dims[cut:]))]))
            case "slice":
                start = draw(st.integers(0, dims[axis] - 1))
                pool.append(graph.slice(x, axis, start, draw(st.integers(1, dims[axis] - start))))
            case "concat":
                rest = dims[:axis] + dims[axis + 1 :]
                fitting = [
                    v
                    for v in pool
                    if len(shape(v)) == len(dims) and shape(v)[:axis] + shape(v)[axis + 1 :] == rest
                ]
                pieces = draw(st.lists(st.sampled_from(fitting), min_size=1, max_size=3))
                if sum(shape(piece)[axis] for piece in pieces) <= 24:
                    pool.append(graph.concat(pieces, axis))
    unread = [value for value in pool if not value.uses() and value not in graph.inputs]
    shown = draw(st.lists(st.sampled_from(pool), max_size=2))
    return graph, list(dict.fromkeys([*unread, *shown])) or [graph.relu(pool[0])]


@pytest.mark.native
@given(graphs())
def test_random_graphs_compute_what_numpy_computes(
    tmp_path_factory: pytest.TempPathFactory, made: tuple[PhysicalGraph, list[ir.Value]]
) -> None:
    from tiercast import Session

    graph, outputs = made
    target = dataclasses.replace(find_target("host"), has=frozenset())
    folder: Path = tmp_path_factory.mktemp("storage")
    session = Session(write_package(lower_graph(graph.model(*outputs), target), folder / "x.tcpkg"))
    results = session.run(graph.feed())
    for output in outputs:
        np.testing.assert_array_equal(results[str(output.name)], graph.arrays[output])
