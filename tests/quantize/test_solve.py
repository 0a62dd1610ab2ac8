"""The solver's choices beside those of trying all."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiercast.quantize.layers import Border, Layer, plain
from tiercast.quantize.solve import Problem
from tiercast.quantize.units import Unit


def problem(seed: int, count: int = 7) -> Problem:
    """Layers in a row, some of them also read further on, with random costs, noise and weights."""
    random = np.random.default_rng(seed)
    layers = []
    for at in range(count):
        unit = Unit(f"u{at}", "product", None, [], [], None, int(random.integers(1, 1000)))  # type: ignore[arg-type]
        f32 = float(random.uniform(1, 100))
        noise = float(10 ** random.uniform(-7, -3))
        layers.append(Layer([unit], frozenset(), f32, f32 * float(random.uniform(0.3, 1.4)), noise))
    borders = [Border("in", 1, None, (0,), False, False, float(random.uniform(0, 9)), 1.0)]
    for at in range(count):
        readers = {at + 1, int(random.integers(at, count))} - {at, count}
        costs = [float(item) for item in random.uniform(0, 12, 2)]
        floats, sums = bool(random.integers(2)), bool(random.integers(2))
        borders.append(Border(f"b{at}", 1, at, tuple(sorted(readers)), floats, sums, *costs))
    return Problem(layers, borders)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.floats(-6, -2.5), st.floats(0.3, 1))
def test_it_finds_the_cheapest_choice(seed: int, power: float, share: float) -> None:
    made = problem(seed)
    noise = 10**power
    most = share * 4 * sum(layer.weights for layer in made.layers)
    allowed = [
        made.choice(item)
        for item in itertools.product([False, True], repeat=len(made.layers))
        if not any(item[at] for at in made.slower)
    ]
    allowed = [item for item in allowed if item.noise <= noise and item.weight_bytes <= most]
    found = made.least_cost(noise, most)
    if not allowed:
        assert found is None
        return
    assert found is not None and found.noise <= noise * (1 + 1e-6) and found.weight_bytes <= most + 1e-6
    best = min(item.cost for item in allowed)
    saved = made.cost([False] * len(made.layers)) - best
    assert found.cost == pytest.approx(best, abs=max(2e-3 * abs(saved), 1e-3 * best))


@given(st.integers(0, 10_000))
@settings(max_examples=10)
def test_the_frontier_goes_from_the_cheapest_to_nothing(seed: int) -> None:
    made = problem(seed).frontier()
    assert not any(made[-1].integers)
    for one, other in itertools.pairwise(made):
        assert one.noise > other.noise and one.cost <= other.cost * (1 + 2e-3)


def test_what_never_pays_stays_f32() -> None:
    made = problem(3)
    made.layers[2].s8_cost = made.layers[2].f32_cost + 100
    again = Problem(made.layers, made.borders)
    assert 2 in again.slower and not any(item.integers[2] for item in again.frontier())


def test_plan_values_are_those_of_the_graph() -> None:
    known = {"relu", "a.q.weight", "x.query"}
    cases = {"relu.q": "relu", "relu.q.piece0": "relu", "relu.dq": "relu", "a.q.weight": "a.q.weight"}
    for name, owner in {**cases, "x.query.q": "x.query", "other.q": "other.q"}.items():
        assert plain(name, known) == owner
