"""Copy: the loop axes it takes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tiercast.errors import GraphError
from tiercast.ops.layouter import Layouter
from tiercast.ops.registry import shape


def emit(dims: list[int], strides: list[int], out: list[int], offset: int = 0) -> ir.Value:
    """A Copy of a 2x3x4 value."""
    x = ir.Value(name="x", shape=ir.Shape((2, 3, 4)), type=ir.TensorType(ir.DataType.FLOAT))
    attributes = {"dims": dims, "in_strides": strides, "offset": offset, "shape": out}
    return Layouter().emit("Copy", [x], attributes)[0]


@pytest.mark.parametrize(
    ("dims", "strides", "out"),
    [
        ([4, 2, 3], [1, 12, 4], [4, 2, 3]),
        ([4, 2, 3], [1, 12, 4], [4, 6]),  # parts of an axis
        ([4, 1, 2, 3], [1, 0, 12, 4], [1, 4, 6, 1]),  # unit axes do not count
        ([5, 24], [0, 1], [5, 24]),  # repeated
    ],
)
def test_loop_axes_are_the_output_axes_or_parts_of_them(
    dims: list[int], strides: list[int], out: list[int]
) -> None:
    assert shape(emit(dims, strides, out)) == tuple(out)


@pytest.mark.parametrize("dims", [[6, 4], [24], [3, 2, 4], [2, 3]])
def test_loop_axes_that_join_output_axes_are_refused(dims: list[int]) -> None:
    # Such a copy could not be written into a window of a wider tensor, where a concat puts it.
    with pytest.raises(GraphError, match=r"do not split \(2, 3, 4\)"):
        emit(dims, [1] * len(dims), [2, 3, 4])


def test_reading_outside_is_refused() -> None:
    with pytest.raises(GraphError, match=r"it reads elements -1\.\.22 of 24"):
        emit([2, 3, 4], [12, 4, 1], [2, 3, 4], offset=-1)


def test_a_scalar_constant_stays_a_scalar() -> None:
    layout = Layouter()
    tensor = ir.tensor(np.array(2.0, np.float32))
    value = ir.Value(name="c", shape=ir.Shape(()), type=ir.TensorType(tensor.dtype), const_value=tensor)
    assert shape(layout.plain(value)) == ()
