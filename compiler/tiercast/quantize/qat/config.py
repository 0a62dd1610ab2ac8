"""How a network is trained for integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tiercast.errors import UsageError

Range = tuple[float, float]


@dataclass(frozen=True)
class QATConfig:
    """What quantization-aware training simulates.

    input_ranges, output_ranges: reals that an input or output of the model lies in, by its name (an output
    of a model that returns no dict by its number, "0"): known from the image's format, so not measured.
    Values outside saturate. method: how the other ranges come of the calibration data: minmax, percentile,
    entropy or mse (`ranges.METHODS`). weight_bits: 8, or fewer (2..7): weights of that many levels, which
    packages hold and compute as s8. keep_float: shell patterns of module paths ("decoder.*", "head") whose
    operators stay f32.
    """

    input_ranges: Mapping[str, Range] = field(default_factory=dict)
    output_ranges: Mapping[str, Range] = field(default_factory=dict)
    method: str = "mse"
    weight_bits: int = 8
    keep_float: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 2 <= self.weight_bits <= 8:
            raise UsageError(f"weight_bits is {self.weight_bits}; 2 to 8 can be trained for")
        if isinstance(self.keep_float, str):
            raise UsageError(f"keep_float is a string; pass a tuple of patterns, ({self.keep_float!r},)")
        for kind, ranges in (("input", self.input_ranges), ("output", self.output_ranges)):
            for name, (low, high) in ranges.items():
                if not low < high:
                    raise UsageError(f"the range of {kind} {name!r} is {low}..{high}; it needs low < high")
