"""Compares two sides step by step, by the names of the model's values that steps hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tiercast.parity.difference import Difference, Element, agree, difference, worst_element
from tiercast.parity.report import OperandParity, StepParity, WrongStep
from tiercast.parity.runner import Arrays, Runner, Tap


@dataclass
class StepComparison:
    """The verdict on each step, the first wrong one, and the values that are right."""

    layers: list[StepParity] = field(default_factory=list)
    first_wrong: WrongStep | None = None
    right: set[str] = field(default_factory=set)
    steps: int = 0

    @property
    def compared(self) -> int:
        """How many results had a value to compare with."""
        return sum(layer.difference is not None for layer in self.layers)


def compare_steps(
    left: Runner, right: Runner, arrays: Arrays, tolerance: float, nonfinite: bool = True
) -> StepComparison:
    """Runs both sides with taps and compares what has a name on both.

    nonfinite: whether a step without a value on the left may be the first wrong one since it makes NaN or
    infinity of finite operands.
    """
    taps = right.taps(arrays)
    expected: dict[str, Tap] = {}
    for tap in left.taps(arrays, {tap.name for tap in taps} - {""}):
        expected.setdefault(tap.name, tap)
    return judge_taps(taps, expected, arrays, tolerance, nonfinite, right.quantized)


def judge_taps(
    taps: Sequence[Tap],
    expected: Mapping[str, Tap],
    arrays: Arrays,
    tolerance: float,
    nonfinite: bool = True,
    quantized: bool = False,
) -> StepComparison:
    """The same of taps that are there; arrays: the inputs, which are right."""
    found = StepComparison(steps=len({tap.index for tap in taps}), right=set(arrays))
    known = {name: difference(np.asarray(array), np.asarray(array)) for name, array in arrays.items()}
    for tap in taps:
        pair = align(tap, expected[tap.name]) if tap.name in expected else None
        if pair is None:
            found.layers.append(_layer(tap, True))
            if found.first_wrong is None and nonfinite and _makes_nonfinite(tap, known):
                found.first_wrong = _nonfinite_step(tap, known)
            continue
        got, wanted = pair
        known[tap.name] = difference(got, wanted)
        worst = worst_element(got, wanted)
        ok = agree(known[tap.name], got, wanted, tolerance, quantized)
        found.layers.append(_layer(tap, ok, wanted.shape, known[tap.name], worst))
        (found.right.add if ok else found.right.discard)(tap.name)
        if found.first_wrong is None and not ok:
            found.first_wrong = _wrong_step(tap, wanted.shape, known[tap.name], worst, known)
    return found


def align(got: Tap, wanted: Tap) -> tuple[np.ndarray, np.ndarray] | None:
    """Both arrays in the model's own order, None where their sizes differ or the order is not known."""
    if got.array.size != wanted.array.size:
        return None
    if got.array.dtype == np.int8 and wanted.array.dtype == np.uint8:  # quantize_operators made it signed
        got = replace(got, array=(got.array.view(np.uint8) ^ 0x80))
    if {got.array.dtype.kind, wanted.array.dtype.kind} & {"i", "u"} and got.array.dtype != wanted.array.dtype:
        return None  # quantized on one side only
    right = _logical(wanted, None)
    if right is not None:
        left = _logical(got, right.shape)
        return None if left is None or left.shape != right.shape else (left, right)
    if got.perm == wanted.perm:
        return got.array.reshape(-1), wanted.array.reshape(-1)
    return None


def _logical(tap: Tap, shape: tuple[int, ...] | None) -> np.ndarray | None:
    """The tap's array in the model's order; shape: the model's, where it is known."""
    if not tap.perm:
        return tap.array if shape is None or tap.array.shape == shape else tap.array.reshape(shape)
    if shape is not None and len(shape) != len(tap.perm):
        return None
    dims = tap.array.shape if shape is None else tuple(shape[axis] for axis in tap.perm)
    if len(dims) != len(tap.perm):
        return None
    return np.transpose(tap.array.reshape(dims), np.argsort(tap.perm))


def _layer(
    tap: Tap,
    ok: bool,
    shape: tuple[int, ...] | None = None,
    found: Difference | None = None,
    worst: Element | None = None,
) -> StepParity:
    dims = tap.array.shape if shape is None else shape
    return StepParity(tap.index, tap.step, tap.op, tap.kernel, tap.name, dims, ok, found, worst)


def _makes_nonfinite(tap: Tap, known: Mapping[str, Difference]) -> bool:
    """Whether a step without a value in the model makes NaN or infinity of operands that have none."""
    if tap.array.dtype.kind != "f" or np.isfinite(tap.array).all():
        return False
    reads = [known.get(name) for name, _ in tap.reads]
    return all(item is None or not (item.nonfinite or item.shared_nan) for item in reads)


def _nonfinite_step(tap: Tap, known: Mapping[str, Difference]) -> WrongStep:
    bad = ~np.isfinite(tap.array)
    at = np.unravel_index(int(np.argmax(bad)), bad.shape)
    worst = Element(tuple(int(axis) for axis in at), float(tap.array[at]), None)
    lost = Difference(0.0, 0.0, int(np.count_nonzero(bad)))
    return _wrong_step(tap, tap.array.shape, lost, worst, known)


def _wrong_step(
    tap: Tap, shape: tuple[int, ...], found: Difference, worst: Element, known: Mapping[str, Difference]
) -> WrongStep:
    operands = tuple(OperandParity(name, dims, known.get(name)) for name, dims in tap.reads)
    source = tap.name or tap.step
    return WrongStep(
        tap.index,
        tap.step,
        tap.op,
        tap.kernel,
        source,
        shape,
        found,
        worst.at,
        worst.got,
        worst.expected,
        operands,
    )
