"""All of ONNX's own backend tests: node tests, PyTorch's, simple ones and the light classification models."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

KINDS = ("simple", "pytorch-converted", "pytorch-operator", "real")
_LIGHT = "onnx/backend/test/data/light/"

Data = tuple[list[Any], list[Any]]


@dataclass(frozen=True)
class Case:
    """One test: its model, pairs of inputs and wanted outputs (arrays; lists for sequences), tolerances.

    base: the model of the test that this one expands, its own otherwise.
    """

    name: str
    kind: str
    model: onnx.ModelProto
    data: tuple[Data, ...]
    rtol: float
    atol: float
    base: onnx.ModelProto


@cache
def names() -> dict[str, str]:
    """Every test's name and kind."""
    return dict.fromkeys(_node_cases(), "node") | {name: kind for name, (kind, _) in _model_cases().items()}


def load(name: str) -> Case:
    """A test with its data."""
    if name in _node_cases():
        case = _node_cases()[name]
        base = _node_cases().get(name.partition("_expanded")[0], case)
        data = tuple((_values(inputs), _values(outputs)) for inputs, outputs in case.data_sets)
        return Case(name, "node", case.model, data, case.rtol, case.atol, base.model)
    kind, case = _model_cases()[name]
    if case.url is not None and case.url.startswith(_LIGHT):
        path = Path(onnx.__file__).parent.parent / case.url
        model = onnx.load(path)
        data = (_light_data(model, path),)
    else:
        model = onnx.load(Path(case.model_dir) / "model.onnx")
        folders = sorted(Path(case.model_dir).glob("test_data_set_*"))
        data = tuple(
            (_read(folder, "input", model.graph.input), _read(folder, "output", model.graph.output))
            for folder in folders
        )
    return Case(name, kind, model, data, case.rtol, case.atol, model)


@cache
def _node_cases() -> dict[str, Any]:
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, about the infinities that the cases are about
        return {case.name: case for case in collect_testcases(None)}


@cache
def _model_cases() -> dict[str, tuple[str, Any]]:
    from onnx.backend.test.loader import load_model_tests

    return {case.name: (kind, case) for kind in KINDS for case in load_model_tests(kind=kind)}


def _values(items: Any) -> list[Any]:
    return [numpy_helper.to_array(item) if isinstance(item, TensorProto) else item for item in items]


def _light_data(model: onnx.ModelProto, path: Path) -> Data:
    """The input that ONNX's runner makes, a ramp, and the outputs in the wheel."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = []
    for port in model.graph.input:
        if port.name not in constants:
            dims = [dim.dim_value or 1 for dim in port.type.tensor_type.shape.dim]
            count = int(np.prod(dims))
            inputs.append((np.arange(count).reshape(dims) / count).astype(np.float32))
    stem = path.with_suffix("")
    outputs = [onnx.load_tensor(f"{stem}_output_{index}.pb") for index in range(len(model.graph.output))]
    return inputs, _values(outputs)


def _read(folder: Path, what: str, ports: Any) -> list[Any]:
    """The tensors in a folder; of a sequence or optional its bytes, since only tensors are compared."""
    found: list[Any] = []
    for index, port in enumerate(ports):
        path = folder / f"{what}_{index}.pb"
        if path.is_file():
            tensor = port.type.HasField("tensor_type")
            found.append(numpy_helper.to_array(onnx.load_tensor(path)) if tensor else path.read_bytes())
    return found
