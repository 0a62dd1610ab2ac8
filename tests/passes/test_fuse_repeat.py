"""Repeated pixels become Resize, and stay the pixels they were."""

from __future__ import annotations

import numpy as np
import pytest

from tests.passes.graphs import graph, keeps_result, op_types
from tiercast.passes.fuse_repeat import fuse_repeat

KERAS = """(float[1,3,4,5] x) => (float[1,6,12,5] y) {
    a = Unsqueeze(x, two) b = Tile(a, rows) c = Reshape(b, high)
    d = Unsqueeze(c, three) e = Tile(d, cols) y = Reshape(e, wide) }"""
CONSTANTS = {
    "two": np.array([2]),
    "three": np.array([3]),
    "rows": np.array([1, 1, 2, 1, 1]),
    "high": np.array([1, 6, 4, 5]),
    "cols": np.array([1, 1, 1, 3, 1]),
    "wide": np.array([1, 6, 12, 5]),
}


def test_both_axes_of_keras_become_one_resize() -> None:
    model = graph(KERAS, **CONSTANTS)
    report = keeps_result(model, fuse_repeat)
    assert len(report.applied) == 2
    assert op_types(model) == ["Resize"]


def test_two_axes_at_once() -> None:
    model = graph(
        """(float[1,2,3,4] x) => (float[1,2,6,8] y) {
        a = Reshape(x, apart) b = Expand(a, more) y = Reshape(b, whole) }""",
        apart=np.array([1, 2, 3, 1, 4, 1]),
        more=np.array([1, 2, 3, 2, 4, 2]),
        whole=np.array([1, 2, 6, 8]),
    )
    keeps_result(model, fuse_repeat)
    assert op_types(model) == ["Resize"]


def test_a_first_enlargement_that_others_read_stays() -> None:
    model = graph(
        KERAS.replace("=> (float[1,6,12,5] y)", "=> (float[1,6,12,5] y, float[1,6,4,5] c)"), **CONSTANTS
    )
    keeps_result(model, fuse_repeat)
    assert op_types(model).count("Resize") == 2


@pytest.mark.parametrize(
    ("text", "constants"),
    [
        # the copies stand behind each other, not pixel by pixel
        (
            "(float[1,3,4] x) => (float[1,6,4] y) { a = Unsqueeze(x, at) b = Tile(a, r) y = Reshape(b, s) }",
            {"at": np.array([1]), "r": np.array([1, 2, 1, 1]), "s": np.array([1, 6, 4])},
        ),
        # the repeated axis is no unit axis
        (
            "(float[1,3,4] x) => (float[1,24] y) { b = Tile(x, r) y = Reshape(b, s) }",
            {"r": np.array([1, 1, 2]), "s": np.array([1, 24])},
        ),
        # five axes
        (
            "(float[1,2,2,3,4] x) => (float[1,2,2,6,4] y)"
            "{ a = Unsqueeze(x, at) b = Tile(a, r) y = Reshape(b, s) }",
            {"at": np.array([4]), "r": np.array([1, 1, 1, 1, 2, 1]), "s": np.array([1, 2, 2, 6, 4])},
        ),
    ],
)
def test_what_is_no_repetition_of_pixels_stays(text: str, constants: dict[str, np.ndarray]) -> None:
    model = graph(text, **constants)
    before = op_types(model)
    keeps_result(model, fuse_repeat)
    assert op_types(model) == before
