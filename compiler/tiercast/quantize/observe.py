"""What values of a float model are on calibration data: ranges, histograms, channel by channel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tiercast.errors import UsageError
from tiercast.frontend import reference
from tiercast.ir.edit import remove_dead
from tiercast.progress import report_progress

BINS = 2048
_COUNTED = 1 << 16  # values of one sample that a histogram takes
Batch = Mapping[str, np.ndarray]


@dataclass
class Seen:
    """One value over all samples: f32 low..high, counts [BINS] of a histogram between them, and of each
    channel (axis 1, or the last of a matrix) the largest magnitude and the mean.
    """

    low: float
    high: float
    counts: np.ndarray
    magnitudes: np.ndarray
    means: np.ndarray

    @property
    def constant(self) -> bool:
        """Whether it never changed."""
        return self.low == self.high


def copied(model: ir.Model) -> ir.Model:
    """A copy of a graph that may be changed."""
    return ir.from_proto(ir.to_proto(model))


def runner(model: ir.Model, names: Sequence[str]) -> Callable[[Batch], dict[str, np.ndarray]]:
    """The model as a function of its inputs that hands out these of its values, by onnxruntime in f32."""
    probe = copied(model)
    inputs = {value.name for value in probe.graph.inputs}
    values = {value.name: value for node in probe.graph for value in node.outputs if value.name}
    wanted = [name for name in names if name not in inputs and name in values]
    del probe.graph.outputs[:]
    probe.graph.outputs.extend(values[name] for name in wanted)
    remove_dead(probe.graph)
    run = reference(probe)[1] if wanted else None

    def call(batch: Batch) -> dict[str, np.ndarray]:
        made = dict(zip(wanted, run(batch), strict=True)) if run is not None else {}
        return {
            name: made[name] if name in made else batch[name]
            for name in names
            if name in made or name in batch
        }

    return call


def observe(
    model: ir.Model, names: Sequence[str], batches: Sequence[Batch], histograms: bool = True
) -> dict[str, Seen]:
    """What these values of a model are, by name, over all batches; without `histograms` the counts stay 0.

    ModelError when onnxruntime can't run the model; UsageError where a value becomes NaN or infinite.
    """
    run = runner(model, names)
    seen: dict[str, Seen] = {}
    for name, data in _all(run, batches, "measuring ranges"):
        if not np.isfinite(data).all():
            raise UsageError(
                f"value {name!r} of the model becomes NaN or infinite on the calibration data; "
                "is it the data that the model was trained on (its scale, --pixels)?"
            )
        _take_range(seen, name, data)
    for name, data in _all(run, batches, "counting values") if histograms else ():
        found = seen[name]
        if not found.constant:
            found.counts += _counted(data.reshape(-1), found.low, found.high)
    for found in seen.values():
        found.means /= len(batches)
    return seen


def _counted(data: np.ndarray, low: float, high: float) -> np.ndarray:
    """A histogram of an evenly spread part of the values."""
    part = data[:: max(1, len(data) // _COUNTED)].astype(np.float64)
    bins = np.minimum((part - low) * (BINS / (high - low)), BINS - 1).astype(np.int64)
    return np.bincount(bins, minlength=BINS)


def _all(
    run: Callable[[Batch], dict[str, np.ndarray]], batches: Sequence[Batch], what: str
) -> Iterator[tuple[str, np.ndarray]]:
    for at, batch in enumerate(batches):
        report_progress(f"{what}: sample {at + 1} of {len(batches)}")
        yield from run(batch).items()


def _take_range(seen: dict[str, Seen], name: str, data: np.ndarray) -> None:
    low, high = float(data.min(initial=np.inf)), float(data.max(initial=-np.inf))
    axis = channel_axis(data.ndim)
    others = tuple(at for at in range(data.ndim) if at != axis)
    magnitudes = np.abs(data).max(axis=others, initial=0.0)
    means = data.mean(axis=others, dtype=np.float64)
    if name not in seen:
        seen[name] = Seen(low, high, np.zeros(BINS, np.int64), magnitudes, means)
        return
    found = seen[name]
    found.low, found.high = min(found.low, low), max(found.high, high)
    found.magnitudes = np.maximum(found.magnitudes, magnitudes)
    found.means = found.means + means


def channel_axis(rank: int) -> int:
    """Where a value of this rank has its channels: 1 for images, the last for matrices."""
    return 1 if rank > 2 else rank - 1
