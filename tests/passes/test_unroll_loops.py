"""Loops with known trips and branches become plain nodes; all others are refused with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from graphs import graph, op_types, proto, run_onnx

from tiercast import Session, compile
from tiercast.errors import GraphError
from tiercast.passes.fold_constants import fold_constants
from tiercast.passes.unroll_loops import MAX_TRIPS, unroll_loops

LOOP = """(float[4] x) => (float[4] y, float[N,4] all) {{
    trips = Constant<{trips}>()  go = Constant<value = bool {{1}}>()
    y, all = Loop(trips, go, x) <body = body (int64 i, bool c, float[4] s)
        => (bool c2, float[4] t, float[4] u) {{
        two = Constant<value_float = 2.0>()  f = Cast<to=1>(i)  a = Mul(s, two)  t = Add(a, f)
        u = Neg(t)  limit = Constant<value_int = {limit}>()  c2 = Less(i, limit) }}>
}}"""
DATA_LOOP = """(float[4] x) => (float[4] y) {
    trips = Constant<value_int = 4>()  go = Constant<value = bool {1}>()
    y = Loop(trips, go, x) <body = body (int64 i, bool c, float[4] s) => (bool c2, float[4] t) {
        t = Tanh(s)  most = ReduceMax<keepdims=0>(t)  limit = Constant<value_float = 0.5>()
        c2 = Greater(most, limit) }>
}"""
SCAN = """(float[3] s0, float[5,3] x) => (float[3] s, float[3,5] y) {
    s, y = Scan(s0, x) <num_scan_inputs=1, scan_input_directions=[1], scan_output_axes=[1],
        body = body (float[3] h, float[3] item) => (float[3] h2, float[3] out) {
            a = Add(h, item)  h2 = Tanh(a)  out = Sub(h2, item) }>
}"""
IF = """(float[2,2] x, float limit) => (float[2,2] y) {
    top = ReduceMax<keepdims=0>(x)  loud = Greater(top, limit)
    y = If(loud) <then_branch = then () => (float[2,2] a) { a = Tanh(x) },
                  else_branch = other () => (float[2,2] b) { b = Neg(x) }>
}"""


def same_as_onnxruntime(folder: Path, text: str, inputs: dict[str, np.ndarray]) -> None:
    model = proto(text)
    found = Session(compile(model, output=folder / "m.tcpkg")).run(inputs)
    for name, wanted in zip(found, run_onnx(model, inputs), strict=True):
        np.testing.assert_allclose(found[name], wanted, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.native
@pytest.mark.parametrize(
    ("trips", "limit"),
    [("value_int = 4", 99), ("value_ints = [4]", 99), ("value_int = 9", 2), ("value_int = 0", 99)],
)
def test_a_loop_runs_until_its_count_or_its_condition_ends(tmp_path: Path, trips: str, limit: int) -> None:
    x = np.arange(4, dtype=np.float32)
    same_as_onnxruntime(tmp_path, LOOP.format(trips=trips, limit=limit), {"x": x})


@pytest.mark.native
def test_a_scan_that_runs_backwards(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    given = {"s0": random.random(3), "x": random.random((5, 3))}
    same_as_onnxruntime(tmp_path, SCAN, {name: array.astype(np.float32) for name, array in given.items()})


@pytest.mark.native
@pytest.mark.parametrize("limit", [0.0, 9.0])
def test_both_branches_run_where_the_condition_is_computed(tmp_path: Path, limit: float) -> None:
    x = np.array([[1, -2], [0.5, 3]], np.float32)
    same_as_onnxruntime(tmp_path, IF, {"x": x, "limit": np.asarray(limit, np.float32)})


def test_a_known_condition_takes_its_branch() -> None:
    model = graph(IF.replace("loud = Greater(top, limit)", "loud = Constant<value = bool {0}>()"))
    fold_constants(model)
    unroll_loops(model)
    assert set(op_types(model)) <= {"Neg", "ReduceMax"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (LOOP.format(trips=f"value_int = {MAX_TRIPS + 5}", limit=9999), f"more than {MAX_TRIPS} times"),
        (DATA_LOOP, "computed from input data"),
    ],
)
def test_what_depends_on_data_or_is_too_long_is_refused(text: str, why: str) -> None:
    model = graph(text)
    with pytest.raises(GraphError, match=rf'node "y" \(Loop\).*{why}'):
        unroll_loops(model)


@pytest.mark.native
def test_what_a_loop_that_never_runs_stacks_is_empty(tmp_path: Path) -> None:
    """Its items' shape follows from what the body reads; joined to others it is nothing."""
    x = {"x": np.arange(4, dtype=np.float32)}
    text = LOOP.format(trips="value_int = 0", limit=9)
    joined = text.replace("=> (float[4] y, float[N,4] all)", "=> (float[4] y, float[N,4] more)")
    joined = joined.rstrip()[:-1] + "row = Unsqueeze(x, zero)  more = Concat<axis=0>(all, row)\n}"
    joined = joined.replace("trips = ", "zero = Constant<value_ints = [0]>()  trips = ", 1)
    for case in (joined, text.replace("float[4] t, float[4] u", "float[4] t, u")):
        same_as_onnxruntime(tmp_path, case, x)


def test_items_cut_at_computed_bounds_keep_their_other_axes() -> None:
    """And an item whose length depends on data is refused."""
    text = """(float[6,4] x, int64[1] a, int64[1] b) => (float[N,4] y) {
        trips = Constant<value_int = 0>()  zero = Constant<value_ints = [0]>()
        go = Constant<value = bool {1}>()
        y = Loop(trips, go) <body = body (int64 i, bool c) => (bool c2, ITEM u) {
            piece = Slice(x, a, b, zero)  u = REDUCE  c2 = Identity(c) }>
    }"""
    model = graph(text.replace("ITEM", "float[4]").replace("REDUCE", "ReduceSum<keepdims=0>(piece, zero)"))
    unroll_loops(model)
    (found,) = [value.const_value for value in model.graph.initializers.values() if 0 in value.shape]
    assert found.numpy().shape == (0, 4) and found.numpy().dtype == np.float32
    open_one = graph(
        text.replace("float[N,4] y", "float[N,M,4] y")
        .replace("ITEM", "float[M,4]")
        .replace("REDUCE", "Neg(piece)")
    )
    with pytest.raises(GraphError, match=r"never runs, and the shape of the items"):
        unroll_loops(open_one)


def test_branches_of_different_shapes_are_refused() -> None:
    text = IF.replace("float[2,2] y", "float[N,2] y").replace("b = Neg(x)", "b = Concat<axis=0>(x, x)")
    model = graph(text.replace("(float[2,2] b)", "(float[4,2] b)"))
    with pytest.raises(GraphError, match=r"\(If\).*its condition is computed.*\[2, 2\] and .*\[4, 2\]"):
        unroll_loops(model)
