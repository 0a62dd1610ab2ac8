"""Range analysis: what the values of a model are on calibration inputs, computed in f32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from tiercast.errors import UsageError
from tiercast.frontend import reference
from tiercast.inputs import random_inputs, read_archive
from tiercast.lower.calls import dtype_name
from tiercast.lower.plan import Port
from tiercast.ops.registry import shape
from tiercast.passes.choose_precision import SMALLEST_NORMAL, Range

Batch = Mapping[str, np.ndarray]


def read_batches(path: Path) -> list[dict[str, np.ndarray]]:
    """Calibration inputs: one .npz (arrays by input name), or every .npz of a folder; UsageError if none."""
    files = sorted(path.glob("*.npz")) if path.is_dir() else [path]
    if not files:
        raise UsageError(f"--calibrate {path}: the folder holds no .npz file of arrays by input name")
    return [read_archive(file) for file in files]


def random_batches(model: ir.Model, count: int = 2) -> list[dict[str, np.ndarray]]:
    """Seeded random inputs (see `inputs.random_inputs`), for want of real ones."""
    ports = [Port(value.name or "", dtype_name(value), shape(value)) for value in model.graph.inputs]
    return [random_inputs(ports, seed) for seed in range(count)]


def measure_ranges(model: ir.Model, batches: Sequence[Batch]) -> dict[str, Range]:
    """Range of every real value of an ONNX model (a stage before `assign_layout`) over all batches, by name.

    Raises UsageError for inputs that the model does not take, ModelError when the model can't be run.
    """
    probe = ir.from_proto(ir.to_proto(model))
    known = set(probe.graph.outputs)
    for node in probe.graph:
        probe.graph.outputs.extend(
            value for value in node.outputs if value not in known and value.dtype == ir.DataType.FLOAT
        )
    _, run = reference(probe)
    names = [value.name or "" for value in probe.graph.outputs]
    ranges: dict[str, Range] = {}
    for batch in batches:
        arrays = _inputs(model, batch)
        for name, data in (*arrays.items(), *zip(names, run(arrays), strict=True)):
            if data.dtype == np.float32:
                ranges[name] = _joined(ranges.get(name), range_of(data))
    return ranges


def range_of(data: np.ndarray) -> Range:
    """The range of one array."""
    sizes = np.abs(data)
    nonzero = int(np.count_nonzero(sizes))
    small = int(np.count_nonzero(sizes < SMALLEST_NORMAL)) - (sizes.size - nonzero)
    largest = float(np.max(sizes, initial=0.0)) if np.isfinite(sizes).all() else float("inf")
    return Range(largest, small / nonzero if nonzero else 0.0)


def _joined(one: Range | None, other: Range) -> Range:
    if one is None:
        return other
    return Range(max(one.largest, other.largest), max(one.subnormal, other.subnormal))


def _inputs(model: ir.Model, batch: Batch) -> dict[str, np.ndarray]:
    wanted = {value.name or "": value for value in model.graph.inputs}
    if set(batch) != set(wanted):
        raise UsageError(
            f"calibration inputs {', '.join(sorted(batch))} are not the model's: {', '.join(sorted(wanted))}"
        )
    for name, value in wanted.items():
        if batch[name].shape != shape(value) or batch[name].dtype != value.dtype.numpy():  # type: ignore[union-attr]
            raise UsageError(
                f"calibration input {name!r} is {batch[name].dtype} {list(batch[name].shape)}, the model "
                f"takes {value.dtype} {list(shape(value))}"
            )
    return {name: batch[name] for name in wanted}
