"""Programs: text form, inlining, dtypes, encoding; the law: inlining is substitution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiercast.errors import GraphError
from tiercast.ops.program import (
    MAX_REGISTERS,
    Program,
    encode,
    fits,
    inline,
    input_count,
    parse,
    rename,
    result_kind,
    text,
)

MEANING = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "max": np.maximum, "neg": np.negative}


def run(program: Program, inputs: list[float]) -> float:
    """The program in numpy."""
    made: list[float] = []
    for line in program:
        values = [
            item if not isinstance(item, str) else (inputs if item[0] == "i" else made)[int(item[1:])]
            for item in line.operands
        ]
        made.append(MEANING[line.op](*values))
    return made[-1]


@st.composite
def programs(draw: st.DrawFn, inputs: int) -> Program:
    lines = []
    for index in range(draw(st.integers(1, 6))):
        known = [*(f"i{n}" for n in range(inputs)), *(f"t{n}" for n in range(index)), "2.5"]
        op = draw(st.sampled_from(sorted(MEANING)))
        count = 1 if op == "neg" else 2
        lines.append(" ".join([op, *(draw(st.sampled_from(known)) for _ in range(count))]))
    return parse(lines)


@given(programs(2), programs(3), st.integers(0, 2))
def test_inline_substitutes(inner: Program, outer: Program, at: int) -> None:
    # Inputs of the result: 0 and 1 feed the inner program, 1, 2 and 3 the outer one.
    fused = inline(inner, outer, at, [0, 1], [1, 2, 3])
    values = [0.5, -1.25, 3.0, 7.0]
    own = values[1:]
    own[at] = run(inner, values[:2])
    assert run(fused, values) == run(outer, own)


@given(programs(3))
def test_text_is_the_inverse_of_parse(program: Program) -> None:
    assert parse(text(program)) == program


@given(programs(3))
def test_registers_hold_every_live_value(program: Program) -> None:
    params = encode(program, whole=False)
    code = params["code"]
    assert isinstance(code, list) and isinstance(params["register_count"], int)
    assert params["register_count"] <= min(len(program) - 1, MAX_REGISTERS)
    held: dict[int, int] = {}  # register -> line whose value it holds
    for index, line in enumerate(program):
        word, last = code[2 * index], code[2 * index + 1]
        read = [word >> 16 & 255, word >> 24 & 255, last & 255]
        for operand, number in zip(line.operands, read, strict=False):
            if isinstance(operand, str) and operand[0] == "t":
                assert held[number - 16] == int(operand[1:])
        held[word >> 8 & 255] = index


def test_a_line_that_breaks_the_form_is_named() -> None:
    with pytest.raises(GraphError, match=r"line 1 'add t0': add takes 2 operands"):
        parse(["relu i0", "add t0"])
    with pytest.raises(GraphError, match="t1 is not an earlier line's value"):
        parse(["relu t1", "relu i0"])
    with pytest.raises(GraphError, match="unknown opcode 'frobnicate'"):
        parse(["frobnicate i0"])


def test_limits_are_named() -> None:
    assert fits(parse(["relu i0"] * 33)) == "33 instructions are more than 32"
    assert fits(parse(["relu i16"])) == "17 inputs are more than 16"


def test_kinds() -> None:
    assert result_kind(parse(["greater i0 i1"]), ["f32", "f32"]) == "bool"
    assert result_kind(parse(["where i0 i1 3"]), ["bool", "s64"]) == "s64"
    with pytest.raises(GraphError, match="cast first"):
        result_kind(parse(["add i0 i1"]), ["f32", "s64"])


def test_rename() -> None:
    program = rename(parse(["add i0 i1"]), {1: 2.0})
    assert text(program) == ["add i0 2.0"] and input_count(program) == 1
