"""Predicted times of kernels on shapes that nobody measured: linear in what a shape makes a kernel do.

The coefficients of a candidate are fitted to its measured times by least squares of the relative errors, and
none is negative: more work never takes less time.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

FEATURES = ("calls", "macs", "padded_macs", "bytes")
LEAST_MEASUREMENTS = 6  # fewer say nothing about four coefficients
_COLUMNS = 32  # of a tile; what lies beyond the last whole one is computed all the same
_KEY = re.compile(r"(?:.* of )?\w+\((?P<operands>[^)]*)\) -> (?P<results>[\dx, ]+)")


def features(key: str) -> tuple[float, ...]:
    """What the work of a decision's key (`ops.registry.shape_key`) amounts to, in the order of FEATURES: 1,
    multiply-accumulates, those of whole tiles of columns, bytes of all operands and results in f32.

    A constant operand of rank 2 or more is used once for each pixel (row) of the result. A key of another
    form counts as one call.
    """
    found = _KEY.match(key)
    if found is None:
        return (1.0, 0.0, 0.0, 0.0)
    operands = [_dims(text) for text in found["operands"].split(",")]
    results = [_dims(text) for text in found["results"].split(",") if text.strip()]
    out = results[0]
    columns = out[-1] if out else 1
    weights = [dims for dims in operands[1:] if len(dims) > 1 and dims != out]
    macs = math.prod(out) // columns * sum(math.prod(dims) for dims in weights)
    padded = macs * (-(-columns // _COLUMNS) * _COLUMNS) / columns
    touched = 4 * sum(math.prod(dims) for dims in (*operands, *results) if dims)
    return (1.0, float(macs), float(padded), float(touched))


def fit(samples: Sequence[tuple[tuple[float, ...], float]]) -> tuple[float, ...]:
    """Coefficients in the order of FEATURES for (features, time) samples, times > 0: of all choices of
    features whose coefficients come out >= 0, the one with the least squared relative error.
    """
    rows = np.array([np.array(item) / time for item, time in samples])
    scale = np.abs(rows).max(axis=0)
    scale[scale == 0] = 1.0
    best, best_error = np.zeros(len(FEATURES)), np.inf
    for size in range(1, len(FEATURES) + 1):
        for chosen in itertools.combinations(range(len(FEATURES)), size):
            columns = list(chosen)
            part = np.linalg.lstsq(rows[:, columns] / scale[columns], np.ones(len(samples)))[0]
            error = float(np.square(rows[:, columns] / scale[columns] @ part - 1).sum())
            if (part >= 0).all() and error < best_error - 1e-12:
                best, best_error = np.zeros(len(FEATURES)), error
                best[columns] = part / scale[columns]
    return tuple(float(value) for value in best)


def predict(coefficients: Sequence[float], key: str) -> float:
    """The time of `key`, in the unit that the coefficients were fitted in."""
    return sum(weight * value for weight, value in zip(coefficients, features(key), strict=True))


def fit_all(times: Mapping[str, Mapping[str, float]]) -> dict[str, tuple[float, ...]]:
    """Coefficients of every candidate that was measured on LEAST_MEASUREMENTS keys or more.

    times: key -> candidate -> time.
    """
    return {
        name: fit([(features(key), time) for key, time in measured])
        for name, measured in _by_candidate(times).items()
    }


@dataclass(frozen=True)
class ModelError:
    """Relative errors of predictions for keys that the fit did not see: how many, median, 95th percentile."""

    count: int
    median: float
    p95: float


def leave_one_out(times: Mapping[str, Mapping[str, float]]) -> ModelError | None:
    """How far a prediction is from the measurement when its own key is left out of the fit; None where no
    candidate has measurements enough.
    """
    errors = []
    for measured in _by_candidate(times, LEAST_MEASUREMENTS + 1).values():
        for number, (key, time) in enumerate(measured):
            rest = [(features(other), us) for other, us in (*measured[:number], *measured[number + 1 :])]
            errors.append(abs(predict(fit(rest), key) - time) / time)
    if not errors:
        return None
    return ModelError(len(errors), float(np.median(errors)), float(np.percentile(errors, 95)))


def _by_candidate(
    times: Mapping[str, Mapping[str, float]], least: int = LEAST_MEASUREMENTS
) -> dict[str, list[tuple[str, float]]]:
    found: dict[str, list[tuple[str, float]]] = {}
    for key, of_candidates in times.items():
        for name, time in of_candidates.items():
            found.setdefault(name, []).append((key, time))
    return {name: found[name] for name in sorted(found) if len(found[name]) >= least}


def _dims(text: str) -> tuple[int, ...]:
    stripped = text.strip()
    if stripped == "-":
        return ()
    return (1,) if stripped == "scalar" else tuple(int(dim) for dim in stripped.split("x"))
