"""Binary searches, over stages of the compiler and over steps of a package that can't be tapped cheaply."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tiercast.errors import UsageError
from tiercast.lower.plan import Plan
from tiercast.parity.cut import cut_plan, live_after
from tiercast.parity.report import Probe
from tiercast.parity.runner import Arrays, PlanRunner, Runner, Tap
from tiercast.parity.steps import StepComparison, judge_taps


def first_bad(low: int, high: int, probe: Callable[[int], Probe]) -> tuple[int, list[Probe]]:
    """The first bad point of low+1..high, and the runs that found it.

    `low` is known to be good, `high` to be bad; behind a bad point all are bad. At most ceil(log2(high -
    low)) runs.
    """
    probes: list[Probe] = []
    while high - low > 1:
        middle = (low + high) // 2
        probes.append(probe(middle))
        low, high = (middle, high) if probes[-1].ok else (low, middle)
    return high, probes


def bisect_steps(
    left: Runner, right: PlanRunner, arrays: Arrays, tolerance: float
) -> tuple[StepComparison, list[Probe]]:
    """The first wrong step of a package in O(log n) runs without taps.

    A run executes the steps up to a cut and hands out what later steps read; once one of those values is
    wrong, later cuts are wrong as well. Only cuts are taken where all such values have one on the left.
    Raises UsageError where the package has no cut to take.
    """
    names = {tap.name for tap in left.taps(arrays)}
    cuts = [number for number in range(len(right.plan.steps) - 1) if _is_clean(right.plan, number, names)]
    if not cuts:
        raise UsageError(f"{right.label}: no step's results can all be compared; verify without --bisect")
    points = [-1, *cuts, len(right.plan.steps) - 1]

    def probe(index: int) -> Probe:
        cut = points[index]
        found = _run_cut(left, right, arrays, tolerance, cut, live_after(right.plan, cut))
        errors = [layer.difference for layer in found.layers if layer.difference is not None]
        return Probe(
            f"step {points[index]}",
            max((item.max_rel_error for item in errors), default=0.0),
            sum(item.nonfinite for item in errors),
            found.first_wrong is None,
        )

    bad, probes = first_bad(0, len(points) - 1, probe)
    last = points[bad]
    every = [
        index
        for step in right.plan.steps[points[bad - 1] + 1 : last + 1]
        for index in step.outputs
        if right.plan.tensors[index].source in names
    ]
    return _run_cut(left, right, arrays, tolerance, last, every), probes


def _is_clean(plan: Plan, step: int, names: set[str]) -> bool:
    live = live_after(plan, step)
    return bool(live) and all(plan.tensors[index].source in names for index in live)


def _run_cut(
    left: Runner, right: PlanRunner, arrays: Arrays, tolerance: float, last: int, wanted: Sequence[int]
) -> StepComparison:
    """The steps of `right` up to `last`, as a package of their own; only `wanted` tensors are looked at.

    A tensor that a later step of the cut overwrites is handed out by a shorter cut of its own run.
    """
    plan = right.plan
    makers = {index: number for number, step in enumerate(plan.steps) for index in step.outputs}
    taps: list[Tap] = []
    left_over = list(dict.fromkeys(wanted))
    while left_over:
        alive = set(live_after(plan, last)) | set(plan.steps[last].outputs)
        now = [index for index in left_over if index in alive]
        if now:
            part = right.part(cut_plan(plan, 0, last, now))
            for index, array in zip(now, part.run(arrays), strict=True):
                step = plan.steps[makers[index]]
                name = plan.tensors[index].source
                taps.append(Tap(makers[index], step.name, step.op, step.kernel, name, array))
        left_over = [index for index in left_over if index not in alive]
        last = max((makers[index] for index in left_over), default=last)
    taps.sort(key=lambda tap: tap.index)
    wanted_names = {tap.name for tap in taps}
    expected = {tap.name: tap for tap in left.taps(arrays, wanted_names)}
    return judge_taps(taps, expected, arrays, tolerance, quantized=right.quantized)
