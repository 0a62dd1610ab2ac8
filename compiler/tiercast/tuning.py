"""Which of several ways to compute the same thing a plan takes: measured where a record knows, else
predicted.

An op's `lower` or a pass asks `Decisions.decide` with a key that holds the shapes (`ops.registry.shape_key`)
and the predicted time of each candidate. Every answer is kept, and a package tells them (`tiercast inspect
--decisions`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tiercast.records import Records
from tiercast.target import Target

DECIDED = "decided "  # how the facts of a plan that are decisions begin
MERIT = "order of merit"  # the reason of a row that stands first and that no record speaks against


@dataclass(frozen=True)
class Decision:
    """One answer. `candidates`: predicted times; `reason`: "us measured on <cpu>" and the like, or MERIT.

    of_rows: between rows of one op. regions: the names of the values that are computed under this decision,
    for each place where it was made.
    """

    key: str
    chosen: str
    reason: str
    candidates: Mapping[str, float]
    of_rows: bool = False
    regions: list[frozenset[str]] = field(default_factory=list)

    def __str__(self) -> str:
        times = ", ".join(f"{name} {time:.4g}" for name, time in sorted(self.candidates.items()))
        return f"{self.chosen}, {self.reason} ({times})"


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

    def decide(self, key: str, candidates: Mapping[str, float], computes: Iterable[str | None] = ()) -> str:
        """One of `candidates` (name -> predicted microseconds, at least one).

        The fastest measured one where all of them were measured under `key`, else the one with the least
        prediction: of the cost model fitted to the CPU's records where that knows them all, else of the
        caller. computes: names of the values that are computed whichever way, for measuring it.
        """
        if len(candidates) == 1:
            return next(iter(candidates))
        chosen, reason, times = self._answer(key, candidates)
        self._keep(Decision(key, chosen, reason, times), computes)
        return chosen

    def pick_row(self, key: str, rows: Sequence[str], computes: Iterable[str | None] = ()) -> str:
        """One of several kernel rows in order of merit: the fastest if all were measured, else the first."""
        unknown = dict.fromkeys(rows, math.inf)
        known = self._records is not None and self._records.fastest(key, unknown) is not None
        if known or self._wanted.get(key) in rows:
            decision = Decision(key, *self._answer(key, unknown), of_rows=True)
        else:
            decision = Decision(key, rows[0], MERIT, unknown, of_rows=True)
        self._keep(decision, computes)
        return decision.chosen

    def facts(self) -> dict[str, str]:
        """The decisions as facts of a plan; their keys begin with DECIDED."""
        told = {key: decision for key, decision in self.made.items() if decision.reason != MERIT}
        return {f"{DECIDED}{key}": str(decision) for key, decision in told.items()}

    def _answer(self, key: str, candidates: Mapping[str, float]) -> tuple[str, str, Mapping[str, float]]:
        if self._wanted.get(key) in candidates:
            return self._wanted[key], "asked for", candidates
        if self._records is not None:
            fastest = self._records.fastest(key, candidates)
            if fastest is not None:
                times = {name: self._records.times[key][name] for name in candidates}
                return fastest, f"{self._records.unit} measured on {self._records.cpu}", times
            fitted = self._records.predicted(key, candidates)
            if fitted is not None:
                reason = f"{self._records.unit} predicted from records of {self._records.cpu}"
                return min(fitted, key=lambda name: fitted[name]), reason, fitted
        return min(candidates, key=lambda name: candidates[name]), "us predicted", dict(candidates)

    def _keep(self, decision: Decision, computes: Iterable[str | None]) -> None:
        kept = self.made.setdefault(decision.key, decision)
        kept.regions.append(frozenset(name for name in computes if name))
