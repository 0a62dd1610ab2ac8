"""One ONNX model of a test, with the arrays that it is fed, through our compiler and runtime."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from tiercast.errors import TiercastError
from tiercast.frontend.tf_recurrence import fuse_recurrences
from tiercast.package.file import write_package
from tiercast.pipeline import compile_plan
from tiercast.session import Session


def run(
    proto: onnx.ModelProto, outputs: Sequence[str], feeds: Mapping[str, np.ndarray]
) -> tuple[list[np.ndarray], list[str]]:
    """The named outputs, computed for the shapes of `feeds`, and the inputs that had to be bound for it.

    A static compiler reads shapes, axes and weights when it compiles: where it refuses a model with them as
    inputs, first its integers, then all inputs but one, the first or another of
    real numbers, are bound as constants. Raises TiercastError.
    """
    arrays = {name: np.asarray(array) for name, array in feeds.items()}
    fuse_recurrences(proto)
    integers = {name for name, array in arrays.items() if array.dtype.kind in "iu" and array.size <= 64}
    open_ones = [name for at, name in enumerate(arrays) if not at or arrays[name].dtype.kind == "f"]
    tries: list[set[str]] = [set(), integers, *(set(arrays) - {kept} for kept in open_ones)]
    tries = [whole for index, whole in enumerate(tries) if whole not in tries[:index]]
    refusals: list[TiercastError] = []
    for whole in tries:
        try:
            free = {name: array for name, array in arrays.items() if name not in whole}
            return _run(_bound(proto, whole, arrays), outputs, free), sorted(whole)
        except TiercastError as error:
            refusals.append(error)
    raise refusals[min(2, len(refusals) - 1)]  # all but the first, the most that models leave open


def _bound(proto: onnx.ModelProto, whole: set[str], arrays: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    bound = onnx.ModelProto()
    bound.CopyFrom(proto)
    for port in [port for port in bound.graph.input if port.name in whole]:
        bound.graph.input.remove(port)
        bound.graph.initializer.append(numpy_helper.from_array(arrays[port.name], port.name))
    return bound


def _run(
    proto: onnx.ModelProto, outputs: Sequence[str], arrays: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    with tempfile.TemporaryDirectory(prefix="tiercast-") as folder:
        plan = compile_plan(proto, inputs={name: array.shape for name, array in arrays.items()}).plan
        made = Session(write_package(plan, Path(folder) / "m.tcpkg")).run(dict(arrays))
    return [made[name] for name in outputs]
