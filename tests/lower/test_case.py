"""Cases of kernels.toml become one-node models with the operands their text asks for."""

from __future__ import annotations

import numpy as np
import pytest

from tiercast.errors import UsageError
from tiercast.kernel import Case, families
from tiercast.lower.case import case_model
from tiercast.lower.lowering import lower_graph
from tiercast.target import find_target


def test_operands_are_what_the_text_says() -> None:
    case = Case("Gather", ("5x4", "2x3:s64 range(0,5)"), {"axis": 0})
    model, inputs = case_model(case)
    assert [value.name for value in model.graph.inputs] == ["i0", "i1"]
    assert inputs["i0"].dtype == np.float32 and inputs["i0"].shape == (5, 4)
    assert inputs["i1"].dtype == np.int64 and inputs["i1"].min() >= 0 and inputs["i1"].max() < 5


def test_constants_are_initializers_and_a_dash_is_absent() -> None:
    case = Case("Conv2d", ("1x6x5x3", "const 4x3x3x3", "-"), {"pads": [1, 1, 1, 1]})
    model, inputs = case_model(case)
    (node,) = model.graph
    assert list(inputs) == ["i0"] and node.inputs[2] is None and node.inputs[1] is not None
    assert node.inputs[1].const_value is not None
    assert tuple(model.graph.outputs[0].shape or ()) == (1, 6, 5, 4)


def test_the_same_seed_gives_the_same_arrays() -> None:
    case = Case("Pointwise", ("3x4",), {"program": ["relu i0"]})
    first, again, other = (case_model(case, seed)[1]["i0"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("text", ["3,4", "3x4:f128", "const", "3x4 range(1)"])
def test_what_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not understood"):
        case_model(Case("Pointwise", (text,), {"program": ["relu i0"]}))


def test_every_benchmark_lowers() -> None:
    """A row of the registry that can't be timed would only show when somebody runs the benchmark."""
    target = find_target("linux-arm64")
    for family in families().values():
        assert family.benches, family.name
        for case in family.benches:
            plain = next(row.name for row in family.rows if row.isa == "portable")
            plan = lower_graph(case_model(case)[0], target, prefer=plain)
            kernels = {step.kernel for step in (*plan.prepare, *plan.steps)}
            assert kernels & {row.name for row in family.rows}, (
                family.name,
                case,
            )
