"""A model input that is read early and joined late is copied for each."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import keeps_physical_result, op_types, physical

from tiercast.lower.lowering import lower_graph
from tiercast.passes.remove_copies import remove_copies
from tiercast.passes.split_copies import split_copies
from tiercast.pipeline import resolve

_SKIP = """(float[1,2,8,8] x) => (float[1,6,8,8] y) {
  a = Conv<pads=[1,1,1,1]>(x, first)
  wide = Conv<pads=[1,1,1,1]>(a, middle)
  b = Conv<pads=[1,1,1,1]>(wide, second)
  c = Concat<axis=1>(b, x)
  y = Conv<pads=[1,1,1,1]>(c, last)
}"""


def _weights(outputs: int, inputs: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((outputs, inputs, 3, 3)).astype(np.float32)


def _skip() -> dict[str, np.ndarray]:
    sizes = {"first": (9, 2), "middle": (9, 9), "second": (4, 9), "last": (6, 6)}
    return {name: _weights(*size) for name, size in sizes.items()}


@pytest.mark.native
def test_a_late_concat_has_its_own_copy() -> None:
    model = physical(_SKIP, **_skip())
    remove_copies(model)
    assert op_types(model)[:2] == ["Copy", "Conv2d"]
    keeps_physical_result(model, split_copies)
    assert op_types(model)[:6] == ["Copy", "Conv2d", "Conv2d", "Conv2d", "Copy", "Concat"]


@pytest.mark.native
def test_the_concats_buffer_no_longer_lives_from_the_first_step() -> None:
    model = physical(_SKIP, **_skip())
    remove_copies(model)
    before = lower_graph(model, resolve("host")).arena_bytes
    split_copies(model)
    assert lower_graph(model, resolve("host")).arena_bytes < before


def test_a_copy_that_only_the_concat_reads_stays_alone() -> None:
    model = physical(
        "(float[1,2,8,8] x) => (float[1,4,8,8] y) {"
        " a = Sin(x) c = Concat<axis=1>(a, x) y = Conv<pads=[1,1,1,1]>(c, last) }",
        last=_weights(4, 4),
    )
    remove_copies(model)
    copies = op_types(model).count("Copy")
    split_copies(model)
    assert op_types(model).count("Copy") == copies
