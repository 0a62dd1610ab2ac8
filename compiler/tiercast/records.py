"""Files of measured times: targets/<family>/tuned/<target>-<cpu>.json, written by `tiercast tune`."""

from __future__ import annotations

import json
import math
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiercast.costmodel import FEATURES, fit_all, predict
from tiercast.errors import UsageError
from tiercast.target import Target

FORMAT = 1
UNITS = ("us", "instructions")
TIE = 1.08  # times nearer to each other than this are taken for equal: the next measurement may say otherwise
MARGIN = (
    2.5  # smaller ones overruled predictions that were right: the fit errs by 60 % at the 95th percentile
)
_LARGEST_FILE = 16 << 20  # bytes; a record of every model there is takes a fraction of this


@dataclass(frozen=True)
class Records:
    """What was measured on one CPU: key -> candidate -> time in `unit`, and the cost model fitted to it:
    candidate -> coefficients (`costmodel`). `cpu` is how reports name that CPU.
    """

    cpu: str
    times: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    unit: str = "us"
    model: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def fastest(self, key: str, candidates: Mapping[str, float]) -> str | None:
        """The candidate with the least time; the one with the least prediction (of several, the first) where
        that is within TIE of it. None where not all of them were measured for this key.
        """
        times = self.times.get(key, {})
        if not candidates or not candidates.keys() <= times.keys():
            return None
        expected = min(candidates, key=lambda name: candidates[name])
        fastest = min(candidates, key=lambda name: times[name])
        return expected if times[expected] <= times[fastest] * TIE else fastest

    def predicted(self, key: str, candidates: Mapping[str, float]) -> Mapping[str, float] | None:
        """Times by the fitted cost model; None where it does not know all of the candidates, or sees the one
        with the least own prediction no more than MARGIN behind its best.
        """
        if not candidates.keys() <= self.model.keys():
            return None
        times = {name: predict(self.model[name], key) for name in candidates}
        expected = min(candidates, key=lambda name: candidates[name])
        return times if times[expected] > MARGIN * min(times.values()) else None

    def with_times(self, times: Mapping[str, Mapping[str, float]]) -> Records:
        """These and newer times, which go before older ones; the cost model is fitted to all."""
        merged = {key: dict(of_candidates) for key, of_candidates in self.times.items()}
        for key, of_candidates in times.items():
            merged.setdefault(key, {}).update(of_candidates)
        return Records(self.cpu, merged, self.unit, fit_all(merged))


def cpu_of(target: Target) -> str | None:
    """The CPU whose records serve a target: this machine's for the host, else what the target's description
    names.
    """
    if target.toolchain is not None:
        return target.tuned_cpu or None
    info = Path("/proc/cpuinfo")
    return describe_cpu(info.read_text() if info.exists() else "") or platform.machine()


def describe_cpu(cpuinfo: str) -> str:
    """The first CPU that Linux's /proc/cpuinfo tells of, empty where it tells none: on x86 its name, family
    and model (virtual machines give several generations one name), on ARM its implementer and part.
    """
    found: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        found.setdefault(name.strip(), value.strip())
    if "model name" in found and "cpu family" in found:
        return f"{found['model name']} family {found['cpu family']} model {found.get('model', '?')}"
    if "CPU part" in found:
        return f"ARM implementer {found.get('CPU implementer', '?')} part {found['CPU part']}"
    return found.get("model name", "")


def record_path(target: Target, cpu: str, folder: Path | None = None) -> Path:
    """Where the records of a CPU lie: in `folder`, by default the target's own."""
    slug = re.sub(r"[^a-z0-9]+", "-", cpu.lower()).strip("-")
    return (folder or target.folder / "tuned") / f"{target.name}-{slug}.json"


def find_records(target: Target, folder: Path | None = None) -> Records | None:
    """The records for a compilation, None when there are none for its CPU.

    folder: where to look instead of the target's own; UsageError when it holds none for this CPU.
    """
    cpu = cpu_of(target)
    path = None if cpu is None else record_path(target, cpu, folder)
    if path is not None and path.exists():
        return read_records(path, target)
    if folder is not None:
        raise UsageError(
            f"{folder}: no records of target {target.name}"
            + (f" on {cpu} ({path.name}); " if path is not None else ": it names no tuned_cpu; ")
            + "make them with `tiercast tune MODEL --records`"
        )
    return None


def read_records(path: Path, target: Target) -> Records:
    """A record file. UsageError says what is wrong with it: unreadable, of another format or target, or
    times and coefficients that are no such numbers.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise UsageError(f"{path}: {path.stat().st_size} bytes; records have at most {_LARGEST_FILE}")
        found = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not a file of records: {error}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        written = found.get("format") if isinstance(found, dict) else type(found).__name__
        raise UsageError(f"{path}: format {written!r}, this Tiercast reads {FORMAT}; tune again")
    if found.get("target") != target.name:
        raise UsageError(f"{path}: it is of target {found.get('target')!r}, not {target.name!r}")
    if found.get("unit") not in UNITS or not isinstance(found.get("cpu"), str):
        raise UsageError(f"{path}: unit must be one of {', '.join(UNITS)} and cpu a text")
    times = _table(path, "times", found.get("times"))
    return Records(found["cpu"], times, found["unit"], _model(path, found.get("model")))


def write_records(records: Records, target: Target, path: Path) -> Path:
    """Writes the file, keys sorted so that versions compare; UsageError when the folder can't be written."""
    content: dict[str, Any] = {
        "format": FORMAT,
        "target": target.name,
        "cpu": records.cpu,
        "unit": records.unit,
        "times": {key: dict(sorted(records.times[key].items())) for key in sorted(records.times)},
        "model": {name: list(weights) for name, weights in sorted(records.model.items())},
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise UsageError(
            f"can't write {path}: {error.strerror or error}; choose another --records"
        ) from error
    return path


def _model(path: Path, found: Any) -> dict[str, tuple[float, ...]]:
    if not isinstance(found, dict):
        raise UsageError(f"{path}: model must map candidates to their coefficients")
    for name, weights in found.items():
        good = isinstance(weights, list) and len(weights) == len(FEATURES)
        if not good or not all(_is_time(weight) or weight == 0 for weight in weights):
            raise UsageError(
                f"{path}: model of {name!r} must be {len(FEATURES)} numbers >= 0: {', '.join(FEATURES)}"
            )
    return {name: tuple(float(weight) for weight in weights) for name, weights in found.items()}


def _is_time(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value) and value > 0


def _table(path: Path, name: str, found: Any) -> dict[str, dict[str, float]]:
    if not isinstance(found, dict) or not all(isinstance(entry, dict) for entry in found.values()):
        raise UsageError(f"{path}: {name} must map keys to candidates and their times")
    for key, entry in found.items():
        for candidate, time in entry.items():
            if not _is_time(time):
                raise UsageError(f"{path}: {name} of {candidate!r} on {key!r} is {time!r}; must be positive")
    return found
