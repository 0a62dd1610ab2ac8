"""Which of several ways to compute the same thing a plan takes: measured where a record knows, else
predicted.

An op's `lower` or a pass asks `Decisions.decide` with a key that holds the shapes (`ops.registry.shape_key`)
and the predicted time of each candidate. Every answer is kept, and a package tells them (`tiercast inspect
--decisions`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tiercast.target import Target

DECIDED = "decided "  # how the facts of a plan that are decisions begin


@dataclass(frozen=True)
class Records:
    """What was measured on one CPU: key -> candidate -> microseconds. `cpu` is how reports name that CPU."""

    cpu: str
    times_us: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def fastest(self, key: str, candidates: Mapping[str, float]) -> str | None:
        """The candidate with the least time; None where not all of them were measured for this key."""
        times = self.times_us.get(key, {})
        if not candidates.keys() <= times.keys():
            return None
        return min(candidates, key=lambda name: times[name])


@dataclass(frozen=True)
class Decision:
    """One answer. `candidates`: predicted microseconds; `reason`: "measured on <cpu>", "predicted" or "asked
    for".
    """

    key: str
    chosen: str
    reason: str
    candidates: Mapping[str, float]

    def __str__(self) -> str:
        times = ", ".join(f"{name} {us:.4g} us" for name, us in sorted(self.candidates.items()))
        return f"{self.chosen}, {self.reason} (predictions: {times})"


class Decisions:
    """Answers for one compilation for `target`; `made` holds them by key, in order.

    records: measurements that go before predictions. wanted: key -> candidate taken whatever its time, for
    measuring it.
    """

    def __init__(
        self, target: Target, records: Records | None = None, wanted: Mapping[str, str] | None = None
    ) -> None:
        self.target = target
        self.made: dict[str, Decision] = {}
        self._records = records
        self._wanted = wanted or {}

    def decide(self, key: str, candidates: Mapping[str, float]) -> str:
        """One of `candidates` (name -> predicted microseconds, at least one).

        The fastest measured one where all of them were measured under `key`, else the one with the least
        prediction. The same key gets the same answer within a compilation.
        """
        chosen, reason = self._answer(key, candidates)
        self.made[key] = Decision(key, chosen, reason, dict(candidates))
        return chosen

    def facts(self) -> dict[str, str]:
        """The decisions as facts of a plan; their keys begin with DECIDED."""
        return {f"{DECIDED}{key}": str(decision) for key, decision in self.made.items()}

    def _answer(self, key: str, candidates: Mapping[str, float]) -> tuple[str, str]:
        if self._wanted.get(key) in candidates:
            return self._wanted[key], "asked for"
        if self._records is not None:
            fastest = self._records.fastest(key, candidates)
            if fastest is not None:
                return fastest, f"measured on {self._records.cpu}"
        return min(candidates, key=lambda name: candidates[name]), "predicted"
