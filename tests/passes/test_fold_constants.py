"""What does not depend on data is computed; names of ports stay."""

import numpy as np
import pytest
from graphs import feeds, graph, keeps_result, op_types, run_physical

from tiercast.errors import GraphError, ModelError
from tiercast.passes.assign_layout import assign_layout
from tiercast.passes.fold_constants import fold_constants


def test_shape_arithmetic_folds() -> None:
    model = graph(
        """(float[1,2,4,6] x) => (float[1,2,24] y) {
          s = Shape(x)
          nc = Slice(s, zero, two)
          last = Constant<value = int64[1] {-1}>()
          shape = Concat<axis=0>(nc, last)
          y = Reshape(x, shape)
        }""",
        zero=np.array([0]),
        two=np.array([2]),
    )
    report = keeps_result(model, fold_constants)
    assert op_types(model) == ["Reshape"]
    assert report.changed


def test_a_decided_branch_is_taken() -> None:
    model = graph(
        """(float[2] x) => (float[2] y) {
          y = If(cond) <
            then_branch = t () => (float[2] a) { a = Relu(x) },
            else_branch = e () => (float[2] b) { b = Neg(x) }
          >
        }""",
        cond=np.array(True),
    )
    keeps_result(model, fold_constants)
    assert op_types(model) == ["Relu"]


def test_a_loop_over_constants_is_run_once() -> None:
    model = graph(
        """(float[3] x) => (float[3] y) {
          n, r = Loop(trips, cond, start) <body = b (int64 i, bool c, float a) => (bool d, float e, float f) {
            d = Identity(c)
            e = Add(a, a)
            f = Identity(a)
          }>
          y = Add(x, r)
        }""",
        trips=np.array(3),
        cond=np.array(True),
        start=np.array(2.0, np.float32),
    )
    keeps_result(model, fold_constants)
    assert op_types(model) == ["Add"]


@pytest.mark.native
def test_an_output_that_is_constant_stays() -> None:
    model = graph("(float[2] x) => (float[2] y, int64[1] s) { s = Shape(x)\n y = Relu(x) }")
    keeps_result(model, fold_constants)
    inputs = feeds(model)
    assign_layout(model)
    np.testing.assert_array_equal(run_physical(model, inputs)[1], [2])


@pytest.mark.parametrize("side", [2, 160], ids=["light", "heavy"])
def test_bodies_of_constants_read_what_lies_outside(monkeypatch: pytest.MonkeyPatch, side: int) -> None:
    monkeypatch.setattr("onnxsim.simplify", lambda model, **_: (model, True))  # it would fold all of this
    f = f"float[{side},{side}]"
    model = graph(
        f"""({f} x) => ({f} y) {{
          r, n = Loop(trips, cond, start) <body = b (int64 i, bool c, {f} a) => (bool d, {f} e, {f} g) {{
            d = Identity(c)
            e = Add(a, w)
            g = Identity(a)
          }}>
          y = Add(x, r)
        }}""",
        trips=np.array(3),
        cond=np.array(True),
        start=np.zeros((side, side), np.float32),
        w=np.random.default_rng(0).standard_normal((side, side)).astype(np.float32),
    )
    keeps_result(model, fold_constants)
    assert op_types(model) == ["Add"]


def test_what_onnxsim_refuses_is_still_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr("onnxsim.simplify", refuse)
    model = graph(
        "(float[2,3] x) => (float[3,2] y)"
        "{ s = Shape(x)\n r = Slice(s, one, zero, z, minus)\n y = Reshape(x, r) }",
        one=np.array([1]),
        zero=np.array([-9]),
        z=np.array([0]),
        minus=np.array([-1]),
    )
    report = keeps_result(model, fold_constants)
    assert op_types(model) == ["Reshape"]
    assert "onnxsim can't simplify it: no" in report.refused[0][1]


def test_a_constant_that_an_undecided_branch_reads_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reader stands in the branch's own graph, and onnxsim did not fold it."""
    monkeypatch.setattr("onnxsim.simplify", lambda *args, **options: 1 / 0)
    model = graph(
        """(float[2] x) => (float[2] y) {
          s = ReduceSum<keepdims=0>(x)
          cond = Greater(s, zero)
          twice = Add(known, known)
          y = If(cond) <
            then_branch = t () => (float[2] a) { a = Mul(x, twice) },
            else_branch = e () => (float[2] b) { b = Neg(x) }
          >
        }""",
        zero=np.array(0, np.float32),
        known=np.array([3, 4], np.float32),
    )
    keeps_result(model, fold_constants)
    assert "Add" not in op_types(model)


def test_a_loop_over_constants_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a branch that is never taken may hold it."""
    monkeypatch.setattr("tiercast.passes.fold_constants.LIMIT_S", 0.2)
    model = graph(
        """(float[2] x) => (float[2] y) {
          go = Constant<value = bool {1}>()
          s = Loop(trips, go, start) <body = b (int64 i, bool c, float[2] v) => (bool c2, float[2] t) {
            t = Neg(v)  c2 = Identity(c) }>
          y = Add(x, s)
        }""",
        trips=np.array(2**62),
        start=np.ones(2, np.float32),
    )
    with pytest.raises(ModelError, match="does not end within"):
        fold_constants(model)


def test_computed_texts_are_refused_by_who_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing computes them while compiling."""
    monkeypatch.setattr("onnxsim.simplify", lambda *args, **options: 1 / 0)
    model = graph(
        """(bool[2] take, string[2] x) => (string[2] y) {
          words = Cast<to=8>(known)
          y = Where(take, x, words)
        }""",
        known=np.ones(2, np.float32),
    )
    fold_constants(model)
    with pytest.raises(GraphError, match="STRING"):
        assign_layout(model)
