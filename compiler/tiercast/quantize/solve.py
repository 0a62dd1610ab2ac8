"""Which layers run on integers: a mixed-integer linear programme, solved by HiGHS through scipy.

A layer's precision is 0 (f32) or 1 (s8). The cost is that of all layers and of the borders where precision
changes; noise of layers adds up (measured apart, which is pessimistic: errors partly cancel).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from tiercast.errors import UsageError
from tiercast.quantize.layers import Border, Layer

_TIME_LIMIT_S = 5.0  # for one choice; then the best found so far is taken
_GAP = 1e-3  # of the cost saved: a choice may be this much worse than the best


@dataclass(frozen=True)
class Choice:
    """Precisions of layers, in their order (True: s8), with the cost, noise and weight bytes that are
    predicted."""

    integers: tuple[bool, ...]
    cost: float
    noise: float
    weight_bytes: int


class Problem:
    """Layers and borders of a model on a target.

    least_cost(noise, weight_bytes) is the cheapest choice within these bounds. `slower`: indices of layers
    that are never s8, as that would cost more whatever stands around them. beside: the cost of what is f32 in
    any case.
    """

    def __init__(self, layers: Sequence[Layer], borders: Sequence[Border], beside: float = 0.0) -> None:
        self.layers, self.borders, self.beside = list(layers), list(borders), beside
        self.slower = tuple(at for at in range(len(layers)) if self._always_slower(at))
        self._rows, self._columns, self._costs = self._border_rows()

    def cost(self, integers: Sequence[bool]) -> float:
        """The cost of a choice: its layers, its borders, and what stands beside them."""
        total = sum(
            layer.s8_cost if whole else layer.f32_cost
            for layer, whole in zip(self.layers, integers, strict=True)
        )
        return total + self.border_cost(integers) + self.beside

    def border_cost(self, integers: Sequence[bool]) -> float:
        """What quantizing and dequantizing between the layers of a choice costs."""
        return sum(_crossing(border, integers) for border in self.borders)

    def choice(self, integers: Sequence[bool]) -> Choice:
        """A choice with what is predicted of it."""
        pairs = list(zip(self.layers, integers, strict=True))
        noise = sum(layer.noise for layer, whole in pairs if whole)
        size = sum(layer.weights * (1 if whole else 4) for layer, whole in pairs)
        return Choice(tuple(integers), self.cost(integers), noise, size)

    def least_cost(self, noise: float = np.inf, weight_bytes: float = np.inf) -> Choice | None:
        """The cheapest choice with at most so much noise and so many bytes of weights; None: there is
        none."""
        optimize = _scipy()
        count, extra = len(self.layers), len(self._costs)
        total = (
            self.cost([False] * count) or 1.0
        )  # costs as shares, budgets as 1: near one another for the solver
        gain = [layer.s8_cost - layer.f32_cost for layer in self.layers]
        constraints = []
        if extra:
            constraints.append(optimize.LinearConstraint(self._rows, -np.inf, self._columns))
        upper = np.ones(count + extra)
        upper[list(self.slower)] = 0
        if np.isfinite(noise):
            shares = np.array([layer.noise / noise if noise > 0 else np.inf for layer in self.layers])
            upper[:count][shares > 1] = 0
            row = [*np.where(shares > 1, 0.0, shares), *[0.0] * extra]
            constraints.append(optimize.LinearConstraint([row], -np.inf, 1.0))
        if np.isfinite(weight_bytes):
            all_f32 = 4 * sum(layer.weights for layer in self.layers)
            row = [*(-3.0 * layer.weights / max(all_f32, 1) for layer in self.layers), *[0.0] * extra]
            constraints.append(
                optimize.LinearConstraint([row], -np.inf, weight_bytes / max(all_f32, 1) - 1.0)
            )
        with _quiet():
            found = optimize.milp(
                np.array([*gain, *self._costs]) / total,
                constraints=constraints,
                integrality=np.array([1] * count + [0] * extra),
                bounds=optimize.Bounds(0, upper),
                options={"time_limit": _TIME_LIMIT_S, "mip_rel_gap": _GAP},
            )
        if found.x is None:
            return None
        return self.choice([bool(value > 0.5) for value in found.x[:count]])

    def frontier(self, weight_bytes: float = np.inf, step_db: float = 1.0) -> list[Choice]:
        """The cheapest choices for ever less noise, from the cheapest of all to nothing on integers (where
        the bytes allow it); each is cheaper and noisier than the next."""
        return list(self._descend(weight_bytes, 10 ** (-step_db / 10)))

    def _descend(self, weight_bytes: float, share: float) -> Iterator[Choice]:
        found = self.least_cost(weight_bytes=weight_bytes)
        while found is not None:
            yield found
            if found.noise <= 0:
                break
            found = self.least_cost(found.noise * share, weight_bytes)
        nothing = self.choice([False] * len(self.layers))
        if nothing.weight_bytes <= weight_bytes and found != nothing:
            yield nothing

    def _always_slower(self, at: int) -> bool:
        """Whether s8 costs a layer more than it can save, with all borders that f32 in its place could
        make."""
        saved = 0.0
        for border in self.borders:
            if border.maker == at:
                saved += border.quantize_cost
            elif at in border.readers and border.maker is not None:
                saved += border.dequantize_cost
        return self.layers[at].s8_cost > self.layers[at].f32_cost + saved

    def _border_rows(self) -> tuple[np.ndarray, np.ndarray, list[float]]:
        """Rows A x <= b over layers and a variable of 0..1 for each quantize and dequantize; their costs."""
        rows: list[tuple[dict[int, float], int, float]] = []
        costs: list[float] = []

        def crossing(cost: float, implied: list[tuple[dict[int, float], float]]) -> None:
            if cost > 0 and implied:
                rows.extend((terms, len(costs), bound) for terms, bound in implied)
                costs.append(cost)

        for border in self.borders:
            crossing(border.quantize_cost, list(_quantizes(border)))
            crossing(border.dequantize_cost, list(_dequantizes(border)))
        count = len(self.layers)
        matrix = np.zeros((len(rows), count + len(costs)))
        for line, (terms, variable, _) in enumerate(rows):
            for at, factor in terms.items():
                matrix[line, at] += factor
            matrix[line, count + variable] = -1
        return matrix, np.array([bound for *_, bound in rows]), costs


def _quantizes(border: Border) -> Iterator[tuple[dict[int, float], float]]:
    """terms - variable <= bound: it is 1 where a reader is s8 and the maker not."""
    for reader in border.readers:
        if border.maker is None:
            yield {reader: 1.0}, 0.0
        elif reader != border.maker:
            yield {reader: 1.0, border.maker: -1.0}, 0.0


def _dequantizes(border: Border) -> Iterator[tuple[dict[int, float], float]]:
    """It is 1 where the maker is s8 and a reader f32; sums that only f32 reads go out as f32."""
    if border.maker is None:
        return
    others = [reader for reader in border.readers if reader != border.maker]
    if not border.sums:
        yield from (({border.maker: 1.0, reader: -1.0}, 0.0) for reader in others)
        if border.floats:
            yield {border.maker: 1.0}, 0.0
        return
    for one in others:  # one reads integers ...
        yield from (({border.maker: 1.0, one: 1.0, other: -1.0}, 1.0) for other in others if other != one)
        if border.floats:
            yield {border.maker: 1.0, one: 1.0}, 1.0


def _crossing(border: Border, integers: Sequence[bool]) -> float:
    made = border.maker is not None and integers[border.maker]
    reading = [integers[reader] for reader in border.readers]
    if not made:
        return border.quantize_cost if any(reading) else 0.0
    in_f32 = border.floats or not all(reading)
    return border.dequantize_cost if in_f32 and (any(reading) or not border.sums) else 0.0


@contextmanager
def _quiet() -> Iterator[None]:
    """HiGHS 1.12 prints stray lines from C++ to standard output, which is the command's result: they go
    nowhere."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _scipy() -> Any:
    try:
        from scipy import optimize
    except ImportError:
        raise UsageError("a contract is solved by scipy: pip install 'tiercast[quantize]'") from None
    return optimize
