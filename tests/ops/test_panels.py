"""The packed format of a GEMM's right-hand side."""

from __future__ import annotations

import numpy as np
import pytest

from tiercast.ops.panels import Panels


@pytest.mark.parametrize(
    ("columns", "widths"),
    [(1, [8]), (8, [8]), (24, [16, 8]), (33, [32, 8]), (60, [32, 32]), (56, [32, 16, 8]), (64, [32, 32])],
)
def test_panels_are_greedy(columns: int, widths: list[int]) -> None:
    assert Panels(32, 8).widths(columns) == widths


def test_elements_stand_where_the_kernels_read_them() -> None:
    matrix = np.arange(3 * 21, dtype=np.float32).reshape(3, 21)
    packed = Panels(16, 4).pack(matrix)
    assert packed.size == 3 * 24
    assert (packed[: 3 * 16].reshape(3, 16) == matrix[:, :16]).all()
    last = packed[3 * 16 :].reshape(3, 8)
    assert (last[:, :5] == matrix[:, 16:]).all()
    assert not last[:, 5:].any()


def test_stacks_of_matrices_follow_each_other() -> None:
    stack = np.random.default_rng(0).standard_normal((2, 3, 5, 9)).astype(np.float32)
    panels = Panels(8, 8)
    whole = panels.pack(stack).reshape(6, -1)
    assert all((whole[i] == panels.pack(matrix)).all() for i, matrix in enumerate(stack.reshape(6, 5, 9)))


def test_vectors_are_padded_row_by_row() -> None:
    padded = Panels(8, 4).pad(np.ones((2, 5), np.float32)).reshape(2, 8)
    assert padded.sum() == 10
    assert not padded[:, 5:].any()
