"""Walking the frontier: which choice keeps a contract's terms, found by bisection on real packages."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tiercast.quantize.agreement import Contract, Verified
from tiercast.quantize.bench import Bench


def weight_bytes(done: Contract, s8_size: int) -> float:
    """The most bytes of weights that a size ratio leaves: from the sizes of the float and of the whole s8
    package."""
    if done.terms.size_ratio is None:
        return np.inf
    count = len(done.layers)
    f32, s8 = (done.problem.choice([on] * count).weight_bytes for on in (False, True))
    saved = max(f32 - s8, 1)
    needed = done.f32_size - done.terms.size_ratio * done.f32_size
    return f32 - needed * saved / max(done.f32_size - s8_size, 1)


def search(done: Contract, bench: Bench) -> None:
    """Verifies choices of the frontier by bisection until the best that keeps the terms is found."""
    frontier, drop = done.frontier, done.terms.max_drop
    if not frontier:
        all_s8 = bench.verify(done, done.problem.choice([True] * len(done.layers)))
        done.refusal = (
            f"no choice of layers meets {done.terms}: with every layer on integers the package is "
            f"{all_s8.size / done.f32_size:.3f} of the float one"
        )
        return
    if drop is not None:
        at = _first(
            len(frontier),
            lambda at: done.metric.keeps(done.f32_value, bench.verify(done, frontier[at]).value, drop),
        )
    else:
        at = (
            len(frontier)
            - 1
            - _first(
                len(frontier),
                lambda at: not _too_costly(done, bench.verify(done, frontier[len(frontier) - 1 - at])),
            )
        )
    if not 0 <= at < len(frontier):
        done.refusal = _best_there_is(done)
        return
    found = bench.verify(done, frontier[at])
    if done.terms.size_ratio is None and found.cost > found.f32_cost:
        found = _cheapest(done, bench, at)
    if _too_costly(done, found) or _too_large(done, found):
        done.refusal = _best_there_is(done)
        return
    done.best = found


def _cheapest(done: Contract, bench: Bench, at: int) -> Verified:
    """Of choices from `at` on that keep the metric the cheapest as measured: the predicted costs were wrong,
    and integers are for speed. The last choice is f32 throughout."""
    behind = range(at, len(done.frontier))
    picked = {behind[round(share * (len(behind) - 1))] for share in (0, 0.25, 0.5, 0.75, 1)}
    drop = done.terms.max_drop
    tried = [bench.verify(done, done.frontier[place]) for place in sorted(picked)]
    kept = [item for item in tried if drop is None or done.metric.keeps(done.f32_value, item.value, drop)]
    return min(kept, key=lambda item: item.cost / item.f32_cost)


def _first(count: int, holds: Callable[[int], bool]) -> int:
    """The first index for which `holds`, by bisection (it holds for all behind); `count` when there is
    none."""
    if holds(0):
        return 0
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _too_costly(done: Contract, found: Verified) -> bool:
    limit = done.terms.max_cost
    return limit is not None and found.cost > limit.of(found.f32_cost, done.unit)


def _too_large(done: Contract, found: Verified) -> bool:
    return done.terms.size_ratio is not None and found.size > done.terms.size_ratio * done.f32_size


def _best_there_is(done: Contract) -> str:
    """Why the terms can't be met together, with the cheapest and the nearest of what was verified."""

    def told(item: Verified) -> str:
        cost = f"{item.cost / 1e3:.3g} ms" if done.unit == "us" else f"{item.cost:.4g} {done.unit}"
        return (
            f"{sum(item.choice.integers)} of {len(done.layers)} layers on integers: {done.metric.name} "
            f"{item.value:.5g} (f32 {done.f32_value:.5g}, drop {item.drop:.3g}), {cost} "
            f"({item.cost / item.f32_cost:.2f} of f32), size {item.size / done.f32_size:.3f} of f32"
        )

    nearest = min(done.tried, key=lambda item: (item.drop, item.cost))
    cheapest = min(done.tried, key=lambda item: item.cost)
    text = f"no choice of layers meets {done.terms}; the most exact tried is {told(nearest)}"
    return text if nearest is cheapest else f"{text}; the cheapest is {told(cheapest)}"
