"""A softmax written in arithmetic is found, whatever it subtracts; what only looks like one is not."""

import numpy as np
import pytest
from graphs import graph, keeps_result, op_types

from tiercast.passes.fuse_softmax import fuse_softmax

CONSTANTS = {"axis": np.array([1]), "other": np.array([2]), "first": np.array([0])}


def model_of(shifted: str, total: str = "ReduceSum(e, axis)"):
    body = f"{shifted} e = Exp(t) s = {total} y = Div(e, s)"
    return graph(f"(float[1,6,5] x, float[1,5] row) => (float[1,6,5] y) {{ {body} }}", **CONSTANTS)


@pytest.mark.parametrize(
    "shifted",
    [
        "t = Identity(x)",
        "m = ReduceMax(x, axis) t = Sub(x, m)",
        "m = Gather<axis=1>(x, first) t = Sub(x, m)",
        "t = Sub(x, row)",
    ],
)
def test_shifts_along_the_axis_cancel(shifted: str) -> None:
    model = model_of(shifted)
    keeps_result(model, fuse_softmax)
    assert [item for item in op_types(model) if item != "Identity"] == ["Softmax"]


def test_a_shift_that_changes_along_the_axis_stays() -> None:
    model = model_of("m = ReduceMax(x, other) t = Sub(x, m)")
    keeps_result(model, fuse_softmax)
    assert op_types(model) == ["ReduceMax", "Sub", "Softmax"]


def test_a_softmax_of_f32_in_f64_is_one_in_f32() -> None:
    text = """(float[1,6,5] x) => (float[1,6,5] y, float[1,6,5] z) { wide = Cast<to=11>(x)
        s = Softmax<axis=1>(wide) y = Cast<to=1>(s) narrow = Cast<to=1>(s) z = Relu(narrow) }"""
    model = graph(text)
    keeps_result(model, fuse_softmax)
    assert next(node for node in model.graph if node.op_type == "Softmax").outputs[0].dtype == 1


def test_a_softmax_that_stays_f64_is_kept() -> None:
    text = """(float[1,6,5] x) => (double[1,6,5] y) { wide = Cast<to=11>(x) s = Softmax<axis=1>(wide)
        y = Neg(s) }"""
    model = graph(text)
    fuse_softmax(model)
    assert next(node for node in model.graph if node.op_type == "Softmax").outputs[0].dtype == 11


@pytest.mark.parametrize("total", ["ReduceSum(x, axis)", "ReduceSum(e)", "ReduceMax(e, axis)"])
def test_another_divisor_is_no_softmax(total: str) -> None:
    model = model_of("t = Identity(x)", total)
    keeps_result(model, fuse_softmax)
    assert "Softmax" not in op_types(model)
