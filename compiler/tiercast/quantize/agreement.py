"""A contract as it is worked out: what was measured, tried and decided."""

from __future__ import annotations

from dataclasses import dataclass, field

from tiercast.quantize.batches import Data
from tiercast.quantize.layers import Layer
from tiercast.quantize.metrics import Metric
from tiercast.quantize.ptq import Calibrated, Quantized
from tiercast.quantize.solve import Choice, Problem
from tiercast.quantize.terms import Terms


@dataclass(frozen=True)
class Verified:
    """A choice compiled and measured end to end. value: the metric's; drop: as the contract counts it; cost:
    in the contract's unit, measured in turn with the float package, whose cost then was f32_cost; size:
    bytes."""

    choice: Choice
    quantized: Quantized = field(repr=False)
    value: float
    drop: float
    cost: float
    f32_cost: float
    size: int


@dataclass
class Contract:
    """What was measured and decided.

    unit: of costs, "us" or "instructions" on `target` (cpu: of its emulator). f32_value, f32_size: of the
    float package. frontier: the cheapest choices, noisiest first. tried: those verified, in order. best: the
    one that is taken, None when the terms can't be met; then `refusal` says what the best ones do.
    """

    calibrated: Calibrated
    terms: Terms
    metric: Metric
    evaluation: Data
    target: str
    cpu: str | None
    unit: str
    problem: Problem
    full: Quantized
    f32_value: float
    f32_size: int
    f32_total: float
    s8_total: float
    frontier: list[Choice] = field(default_factory=list)
    tried: list[Verified] = field(default_factory=list)
    best: Verified | None = None
    refusal: str = ""

    @property
    def layers(self) -> list[Layer]:
        """What was decided on."""
        return self.problem.layers

    @property
    def kept(self) -> list[Layer]:
        """Layers that stay f32 in what was taken."""
        if self.best is None:
            return []
        return [layer for layer, on in zip(self.layers, self.best.choice.integers, strict=True) if not on]
