"""What a contract is measured by: agreement with the float model or with truths, or a function of the
user's."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tiercast.errors import UsageError
from tiercast.factory import find_factory
from tiercast.quantize.batches import Data
from tiercast.quantize.measure import BEST_DB, decibels, noise_to_signal

Run = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
BUILT_IN = ("sqnr", "psnr", "iou")


@dataclass(frozen=True)
class Limit:
    """The most that a metric may drop: `text` as given; a share of the float model's value, or the metric's
    own units.
    """

    text: str
    value: float
    relative: bool

    def __str__(self) -> str:
        return self.text


def parse_limit(text: str) -> Limit:
    """ "0.5%" is a share of the float model's value, "0.003" is in the metric's own units. UsageError
    otherwise."""
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*(%?)\s*", text)
    if not found:
        raise UsageError(
            f"--max-drop {text!r} is neither a share like 0.5% nor a number of the metric's units"
        )
    value = float(found[1])
    return Limit(text.strip(), value / 100 if found[2] else value, bool(found[2]))


@dataclass(frozen=True)
class Metric:
    """A metric: `evaluate(run)` is its value for a model, the higher the better.

    relative_error: its value is a distance from the float model in dB (sqnr; psnr without truths), of which a
    drop is the relative error behind it: 46 dB are 0.5 %.
    """

    name: str
    evaluate: Callable[[Run], float]
    relative_error: bool = False

    def drop(self, base: float, value: float, limit: Limit | None = None) -> float:
        """How much worse than `base` a value is, in what `limit` counts (a share where there is none)."""
        if self.relative_error:
            return 10 ** (-value / 20)
        if not math.isfinite(value):
            return math.inf
        lost = base - value
        if limit is not None and not limit.relative:
            return lost
        return lost / abs(base) if base else (0.0 if lost <= 0 else math.inf)

    def keeps(self, base: float, value: float, limit: Limit) -> bool:
        """Whether the drop is within the limit."""
        return self.drop(base, value, limit) <= limit.value


def find_metric(
    name: str | Callable[[Run], float], data: Data, exact: Sequence[Mapping[str, np.ndarray]]
) -> Metric:
    """A built-in metric, a callable, or "file.py:function" (or "module:function") of one.

    A callable takes `run`, a function from inputs to outputs (arrays by name), and returns a number, the
    higher the better. Built-in ones run on `data`: sqnr (dB, of the worst output, against the float model),
    psnr (dB, peak = range of the reference) and iou (a mask's at 0.5; of classes, the mean over those
    present, where axis 1 holds several) against `data.truths`, where there are any, else against the float
    model's outputs `exact`. UsageError for an unknown name.
    """
    if callable(name):
        called = getattr(name, "__name__", "metric")
        return Metric(called, _users(name, called))
    if ":" in name:
        return Metric(name, _users(find_factory(name, "--metric"), name))
    if name not in BUILT_IN:
        raise UsageError(
            f"--metric {name!r} is unknown; built in are {', '.join(BUILT_IN)}, or "
            "file.py:function that takes run(inputs) -> outputs and returns a number, the higher the better"
        )
    truths = [dict(truth) for truth in data.truths]
    told = bool(truths) and all(truths)
    judged = truths if told else exact
    score = {"sqnr": _sqnr, "psnr": _psnr, "iou": _iou}[name]
    wanted = exact if name == "sqnr" else judged

    def evaluate(run: Run) -> float:
        return score(wanted, [run(batch) for batch in data.batches])

    return Metric(name, evaluate, name == "sqnr" or (name == "psnr" and not told))


def _users(function: Callable[[Run], float], name: str) -> Callable[[Run], float]:
    def evaluate(run: Run) -> float:
        try:
            value = float(function(run))
        except Exception as error:  # the user's code may raise anything
            raise UsageError(f"--metric {name}: it raised {type(error).__name__}: {error}") from error
        if math.isnan(value):
            raise UsageError(
                f"--metric {name}: it returned NaN; it must return a number, the higher the better"
            )
        return value

    return evaluate


Reference = Sequence[Mapping[str, np.ndarray]]


def _sqnr(exact: Reference, got: Reference) -> float:
    names = list(exact[0])
    pairs = [[[item[name] for name in names] for item in side] for side in (exact, got)]
    return decibels(noise_to_signal(*pairs))


def _psnr(exact: Reference, got: Reference) -> float:
    worst = BEST_DB
    for name in exact[0]:
        wanted = np.concatenate([item[name].reshape(-1) for item in exact]).astype(np.float64)
        made = np.concatenate([item[name].reshape(-1) for item in got]).astype(np.float64)
        error, peak = float(np.square(wanted - made).mean()), float(wanted.max() - wanted.min())
        worst = min(worst, decibels(error / peak**2) if peak else (BEST_DB if error == 0 else -BEST_DB))
    return worst


def _iou(exact: Reference, got: Reference) -> float:
    """The mean over samples of the first output's masks; 1 where both are empty."""
    name = next(iter(exact[0]))
    return float(np.mean([_overlap(a[name], b[name]) for a, b in zip(exact, got, strict=True)]))


def _overlap(wanted: np.ndarray, made: np.ndarray) -> float:
    if made.ndim > 2 and made.shape[1] > 1:
        classes = made.shape[1]
        found = made.argmax(1)
        real = wanted.argmax(1) if wanted.shape == made.shape else wanted.reshape(found.shape)
        present = [at for at in range(classes) if (real == at).any() or (found == at).any()]
        return float(np.mean([_ratio(real == at, found == at) for at in present]))
    return _ratio(wanted > 0.5, made > 0.5)


def _ratio(one: np.ndarray, other: np.ndarray) -> float:
    either = int((one | other).sum())
    return float((one & other).sum()) / either if either else 1.0
