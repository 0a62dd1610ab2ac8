"""ONNX MatMul and Gemm against onnxruntime."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import helper
from onnx_node import assert_same, random


@pytest.mark.native
@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3, 4), (4, 5)),
        ((2, 3, 4), (4, 5)),
        ((4,), (4, 5)),
        ((2, 3, 4), (4,)),
        ((4,), (4,)),
        ((2, 1, 3, 4), (5, 4, 6)),
        ((30, 40), (40, 50)),
    ],
)
def test_matmul(tmp_path: Path, a: tuple[int, ...], b: tuple[int, ...], constant: bool) -> None:
    left, right = {"a": random(*a)}, {"b": random(*b)}
    node = helper.make_node("MatMul", ["a", "b"], ["y"])
    assert_same(tmp_path, node, left if constant else left | right, right if constant else {})


@pytest.mark.native
def test_matmul_of_a_constant_left_side(tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["a", "b"], ["y"])
    assert_same(tmp_path, node, {"b": random(2, 4, 6)}, {"a": random(3, 4)})


@pytest.mark.native
@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("transposed", [(0, 0), (1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("c", [None, (5,), (1, 5), (3, 1), (3, 5), (1,)])
def test_gemm(tmp_path: Path, c: tuple[int, ...] | None, transposed: tuple[int, int], constant: bool) -> None:
    trans_a, trans_b = transposed
    a, b = random(*((4, 3) if trans_a else (3, 4))), random(*((5, 4) if trans_b else (4, 5)))
    others = {"b": b} | ({} if c is None else {"c": random(*c)})
    node = helper.make_node(
        "Gemm", ["a", *others], ["y"], transA=trans_a, transB=trans_b, alpha=0.5, beta=2.0
    )
    assert_same(tmp_path, node, {"a": a} if constant else {"a": a} | others, others if constant else {})
