"""Plans of one package share what is equal, and the right one is found."""

from __future__ import annotations

import pytest

from tiercast.errors import UsageError
from tiercast.lower.buckets import find_bucket, measure_sharing, share_prepared
from tiercast.lower.plan import Plan, Port, Step, Tensor


def prepare(plan: Plan, source: int, offset: int, kernel: str = "widen") -> int:
    """A prepare step from byte `source` of the constants to prepared byte `offset`; the made tensor."""
    plan.tensors += [
        Tensor("w", "f16", (8,), (1,), "weights", source),
        Tensor("made", "f32", (8,), (1,), "prepared", offset),
    ]
    count = len(plan.tensors)
    plan.prepare.append(Step("p", "cast", kernel, (), (count - 2,), (count - 1,), b"", 0, 0))
    plan.prepared_bytes = offset + 64
    return count - 1


def run(plan: Plan, *inputs: int) -> None:
    plan.tensors.append(Tensor("y", "f32", (8,), (1,), "output", 0))
    plan.steps.append(Step("s", "add", "add", (), inputs, (len(plan.tensors) - 1,), b"", 0, 0))


def two_plans() -> tuple[Plan, Plan]:
    one, other = (Plan("host", inputs=[Port("x", "f32", (size, 2))], weights=bytes(256)) for size in (4, 6))
    run(one, prepare(one, 0, 0), prepare(one, 64, 64))
    run(other, prepare(other, 128, 0), prepare(other, 64, 64), prepare(other, 64, 128, "widen2"))
    return one, other


def test_equal_prepared_constants_are_made_once() -> None:
    one, other = two_plans()
    share_prepared([one, other])
    assert len(one.prepare) == 2 and [step.kernel for step in other.prepare] == ["widen", "widen2"]
    made = [[plan.tensors[index].offset for index in plan.steps[0].inputs] for plan in (one, other)]
    assert made == [[0, 64], [128, 64, 192]]
    assert one.prepared_bytes == other.prepared_bytes == 256


def test_what_is_shared_is_measured() -> None:
    one, other = two_plans()
    share_prepared([one, other])
    found = measure_sharing([one, other])
    assert found.own_bytes == (32, 32) and found.shared_bytes == (16, 16) and found.total_bytes == 256


def test_the_bucket_of_exactly_these_shapes() -> None:
    plans = two_plans()
    assert [find_bucket(plans, {"x": (size, 2)}, "p") for size in (4, 6)] == [0, 1]
    assert find_bucket(plans, {}, "p") == 0 and find_bucket(plans[:1], {"x": (99,)}, "p") == 0
    with pytest.raises(
        UsageError, match=r"p: no bucket takes x 5x2; .*nothing is padded.*0: x 4x2; 1: x 6x2"
    ):
        find_bucket(plans, {"x": (5, 2)}, "p")
