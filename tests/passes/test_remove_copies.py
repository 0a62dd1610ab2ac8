"""Data movement that cancels, or moves nothing, is gone."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import keeps_physical_result, op_types, physical
from hypothesis import given, settings
from hypothesis import strategies as st

from tiercast.passes.remove_copies import remove_copies


@st.composite
def movements(draw: st.DrawFn) -> str:
    """Chains of transposes, reshapes and splits over 24 elements."""
    dims: tuple[int, ...] = (2, 3, 4)
    lines, name = [], "x"
    for index in range(draw(st.integers(1, 6))):
        made = f"v{index}"
        if draw(st.booleans()):
            perm = draw(st.permutations(range(len(dims))))
            lines.append(f"{made} = Transpose<perm=[{','.join(map(str, perm))}]>({name})")
            dims = tuple(dims[axis] for axis in perm)
        else:
            dims = draw(
                st.sampled_from([(2, 3, 4), (24,), (6, 4), (1, 24), (2, 12), (4, 1, 6), (3, 2, 2, 2)])
            )
            shape = f"shape{index}"
            values = ",".join(map(str, dims))
            lines.append(f"{shape} = Constant<value = int64[{len(dims)}] {{{values}}}>()")
            lines.append(f"{made} = Reshape({name}, {shape})")
        name = made
    lines.append(f"y = Sin({name})")
    return f"(float[2,3,4] x) => (float[{','.join(map(str, dims))}] y) {{ {chr(10).join(lines)} }}"


@pytest.mark.native
@settings(max_examples=40)
@given(movements())
def test_any_chain_keeps_its_result(text: str) -> None:
    model = physical(text)
    keeps_physical_result(model, remove_copies)


def test_inverse_transposes_cancel() -> None:
    model = physical(
        """(float[1,3,4,5] x) => (float[1,3,4,5] y) {
          a = Transpose<perm=[0,2,3,1]>(x)
          b = Reshape(a, flat)
          c = Reshape(b, back)
          d = Transpose<perm=[0,3,1,2]>(c)
          y = Sin(d)
        }""",
        flat=np.array([20, 3]),
        back=np.array([1, 4, 5, 3]),
    )
    remove_copies(model)
    assert op_types(model) == ["Pointwise"]


@pytest.mark.native
def test_a_slice_of_a_concat_is_a_slice_of_its_piece() -> None:
    model = physical(
        """(float[1,4,3] x, float[1,4,3] z) => (float[1,2,3] y) {
          a = Sin(x)
          b = Cos(z)
          c = Concat<axis=1>(a, b)
          y = Slice(c, five, seven, one)
        }""",
        five=np.array([5]),
        seven=np.array([7]),
        one=np.array([1]),
    )
    keeps_physical_result(model, remove_copies)
    assert "Concat" not in op_types(model)
    assert op_types(model).count("Pointwise") == 1


@pytest.mark.native
def test_pixel_shuffle_and_the_copy_back_are_one_copy() -> None:
    model = physical(
        "(float[2,8,4,4] x) => (float[2,2,8,8] y) { a = DepthToSpace<blocksize=2>(x)\n y = Sin(a) }"
    )
    keeps_physical_result(model, remove_copies)
    assert op_types(model).count("Copy") <= 2


@pytest.mark.native
def test_a_concat_moves_behind_the_transpose_of_its_result() -> None:
    model = physical(
        """(float[1,3,6,6] x, float[1,1,6,6] m) => (float[1,4,4,4] y, float[1,4,4,4] z) {
          c = Concat<axis=1>(x, m)
          y = Conv(c, w)
          z = Conv(x, v)
        }""",
        w=np.ones((4, 4, 3, 3), np.float32),
        v=np.ones((4, 3, 3, 3), np.float32),
    )
    keeps_physical_result(model, remove_copies)
    concat = next(node for node in model.graph if node.op_type == "Concat")
    assert concat.attributes["axis"].as_int() == 3
    copies = [
        node for node in model.graph if node.op_type == "Copy" and node.inputs[0] is model.graph.inputs[0]
    ]
    assert len(copies) == 1  # both convolutions read the same copy of x
