"""What does not depend on data is computed; names of ports stay."""

import numpy as np
from graphs import graph, keeps_result, op_types

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
