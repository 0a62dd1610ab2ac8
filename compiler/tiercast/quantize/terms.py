"""The terms of a contract: how much a metric may drop, what a run may cost, how large the package may be."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tiercast.errors import UsageError
from tiercast.quantize.costs import HOST_UNIT
from tiercast.quantize.metrics import Limit


@dataclass(frozen=True)
class CostLimit:
    """The most that a run may cost: milliseconds, or a share of the float package's cost."""

    text: str
    value: float
    relative: bool

    def of(self, f32_cost: float, unit: str) -> float:
        """The limit in `unit`s. UsageError where milliseconds can't be measured."""
        if self.relative:
            return self.value * f32_cost
        if unit != HOST_UNIT:
            raise UsageError(
                f"--max-latency {self.text}: on an emulated target {unit} are counted, no time; give a share "
                "of the float package's, say 0.6x, or measure on host"
            )
        return self.value * 1e3


def parse_cost(text: str) -> CostLimit:
    """ "8ms" is a time, "0.6x" a share of the float package's. UsageError otherwise."""
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(ms|x)\s*", text)
    if not found or float(found[1]) <= 0:
        raise UsageError(
            f"--max-latency {text!r} is neither a time like 8ms nor a share of the float package's like 0.6x"
        )
    return CostLimit(text.strip(), float(found[1]), found[2] == "x")


@dataclass(frozen=True)
class Terms:
    """What a contract asks for; at least one of them. size_ratio: of the float package's bytes."""

    max_drop: Limit | None = None
    max_cost: CostLimit | None = None
    size_ratio: float | None = None

    def __post_init__(self) -> None:
        if self.size_ratio is not None and self.size_ratio <= 0:
            raise UsageError(
                f"--size-ratio {self.size_ratio}: it is a share of the float package's bytes, above 0"
            )

    @property
    def any(self) -> bool:
        """Whether there is a contract at all."""
        return not (self.max_drop is None and self.max_cost is None and self.size_ratio is None)

    def __str__(self) -> str:
        parts = [f"drop at most {self.max_drop}"] if self.max_drop else []
        parts += [f"latency at most {self.max_cost.text}"] if self.max_cost else []
        parts += [f"size at most {self.size_ratio:g} of f32"] if self.size_ratio is not None else []
        return ", ".join(parts)
