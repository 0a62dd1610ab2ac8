"""Elementwise trees become one program; the law: whatever the tree, the result stays."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import keeps_physical_result, op_types, physical
from hypothesis import given, settings
from hypothesis import strategies as st

from tiercast.ops.program import MAX_INPUTS
from tiercast.ops.registry import attr
from tiercast.passes.fuse_pointwise import fuse_pointwise

UNARY = ("Relu", "Sigmoid", "Tanh", "Neg", "Abs", "Sin", "HardSwish")
BINARY = ("Add", "Sub", "Mul", "Max", "Min")


@st.composite
def elementwise_graphs(draw: st.DrawFn) -> str:
    """Bodies over x [2,3,4], row [4] and column [3,1]; every value may be read any number of times."""
    shapes = {"x": (2, 3, 4), "row": (4,), "column": (3, 1)}
    lines = []
    for index in range(draw(st.integers(1, 9))):
        names = sorted(shapes)
        left, right = draw(st.sampled_from(names)), draw(st.sampled_from(names))
        name = f"v{index}"
        if draw(st.booleans()):
            lines.append(f"{name} = {draw(st.sampled_from(UNARY))}({left})")
            shapes[name] = shapes[left]
        else:
            lines.append(f"{name} = {draw(st.sampled_from(BINARY))}({left}, {right})")
            shapes[name] = tuple(np.broadcast_shapes(shapes[left], shapes[right]))
    last = f"v{len(lines) - 1}"
    dims = ",".join(map(str, shapes[last]))
    extra = draw(st.sampled_from([None, "v0"])) if len(lines) > 1 else None
    ports = f"float[{dims}] {last}"
    if extra:
        ports += f", float[{','.join(map(str, shapes[extra]))}] {extra}"
    return f"(float[2,3,4] x, float[4] row, float[3,1] column) => ({ports}) {{ {chr(10).join(lines)} }}"


@pytest.mark.native
@settings(max_examples=40)
@given(elementwise_graphs())
def test_any_tree_keeps_its_result(text: str) -> None:
    keeps_physical_result(physical(text), fuse_pointwise)


def test_a_tree_is_one_node() -> None:
    model = physical(
        "(float[2,3] x, float[2,3] y) => (float[2,3] z)"
        "{ a = Sin(x)\n b = Add(a, y)\n c = Cos(y)\n d = Mul(b, c)\n z = Sub(d, d) }"
    )
    fuse_pointwise(model)
    assert op_types(model) == ["Pointwise"]
    assert len(model.graph.node(0).inputs) == 2
    assert model.graph.node(0).outputs[0].metadata_props["source"] == "z"


def test_smaller_shapes_and_shared_values_are_not_recomputed() -> None:
    model = physical(
        "(float[1,3] x, float[2,3] y) => (float[2,3] z, float[2,3] w)"
        "{ a = Sin(x)\n b = Add(a, y)\n z = Cos(b)\n w = Tanh(b) }"
    )
    fuse_pointwise(model)
    assert len(model.graph) == 4


def test_number_types_do_not_mix() -> None:
    model = physical(
        "(float[4] x, int64[4] i, int64[4] j) => (float[4] y)"
        "{ c = Less(i, j)\n n = Neg(x)\n y = Where(c, x, n) }"
    )
    report = fuse_pointwise(model)
    assert op_types(model) == ["Pointwise", "Pointwise"]
    assert "compute in" in report.refused[0][1]


def test_the_limit_of_inputs_is_kept() -> None:
    count = 2 * MAX_INPUTS
    ports = ", ".join(f"float[4] x{index}" for index in range(count))
    lines = ["s0 = Sin(x0)", *(f"s{at} = Add(s{at - 1}, x{at})" for at in range(1, count))]
    model = physical(f"({ports}) => (float[4] s{count - 1}) {{ {chr(10).join(lines)} }}")
    report = fuse_pointwise(model)
    assert len(model.graph) <= 4
    assert all(len(node.inputs) <= MAX_INPUTS and attr(node, "program") for node in model.graph)
    assert any("more than" in why for _, why in report.refused)
