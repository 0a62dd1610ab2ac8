"""The model's inputs and outputs: their names, and shapes that a caller fixes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from tiercast.errors import ModelError, UsageError
from tiercast.frontend.tflite_ops.builder import Value
from tiercast.frontend.tflite_ops.file import NUMPY, TfliteModel
from tiercast.frontend.tflite_ops.scope import Scope


@dataclass(frozen=True)
class Port:
    """An input or output by its name, and the tensor that it is."""

    name: str
    index: int


def input_ports(model: TfliteModel) -> list[Port]:
    """The inputs in the file's order."""
    return _ports(model, model.subgraphs[0].inputs, "inputs")


def output_ports(model: TfliteModel) -> list[Port]:
    """The outputs in the file's order."""
    return _ports(model, model.subgraphs[0].outputs, "outputs")


def bind_inputs(scope: Scope, inputs: Mapping[str, Sequence[int]]) -> list[onnx.ValueInfoProto]:
    """Binds every input to a value of the graph, in the file's shape or the one given for it.

    Raises UsageError for an unknown input or a shape that the file does not leave open, ModelError for an
    input of a type that nothing computes with.
    """
    ports = input_ports(scope.model)
    _refuse_unknown(ports, inputs)
    made = []
    for port in ports:
        tensor = scope.tensor(port.index)
        if tensor.kind not in NUMPY or tensor.kind == "INT4":
            raise ModelError(
                f"input {port.name!r} is of type {tensor.kind}, which nothing here computes with"
            )
        dims = _fixed(scope, port, inputs.get(port.name))
        value = Value(scope.builder.reserve(port.name), dims, np.dtype(NUMPY[tensor.kind]))
        scope.bind(port.index, value)
        made.append(_info(value))
    return made


def collect_outputs(scope: Scope) -> list[onnx.ValueInfoProto]:
    """Gives every output a value of its own under its port's name."""
    made = []
    for port in output_ports(scope.model):
        value = scope.raw(port.index)
        made.append(_info(scope.builder.output(value, port.name)))
    if not made:
        raise ModelError("the model has no outputs")
    return made


def _ports(model: TfliteModel, indices: Sequence[int], side: str) -> list[Port]:
    graph = model.subgraphs[0]
    named = _signature_names(model, indices, side)
    names = [
        named.get(index) or graph.tensors[index].name or f"{side[:-1]}_{at}"
        for at, index in enumerate(indices)
    ]
    taken: set[str] = set()
    ports = []
    for name, index in zip(names, indices, strict=True):
        own, count = name, 1
        while own in taken:
            own, count = f"{name}.{count}", count + 1
        taken.add(own)
        ports.append(Port(own, index))
    return ports


def _signature_names(model: TfliteModel, indices: Sequence[int], side: str) -> dict[int, str]:
    """Names that the main subgraph's only signature gives to all inputs (or outputs), else none."""
    found = [signature for signature in model.signatures if signature.subgraph == 0]
    if len(found) != 1:
        return {}
    names = {index: name for name, index in getattr(found[0], side).items()}
    return names if set(names) >= set(indices) else {}


def _refuse_unknown(ports: Sequence[Port], inputs: Mapping[str, Sequence[int]]) -> None:
    known = [port.name for port in ports]
    for name in inputs:
        if name not in known:
            raise UsageError(
                f"there is no input {name!r}; the model's inputs are {', '.join(known) or 'none'}"
            )


def _fixed(scope: Scope, port: Port, given: Sequence[int] | None) -> tuple[int, ...]:
    tensor = scope.tensor(port.index)
    if given is None:
        if 0 in tensor.shape:
            raise ModelError(f"input {port.name!r} has shape {tensor.shape}: an empty dimension")
        return tensor.shape
    dims = tuple(int(dim) for dim in given)
    text = "x".join(map(str, dims))
    if len(dims) != len(tensor.shape) or min(dims, default=1) < 1:
        raise UsageError(f"input {port.name!r} has shape {tensor.shape}; {text} does not fit it")
    closed = [
        axis
        for axis, (own, new) in enumerate(zip(tensor.shape, dims, strict=True))
        if own != new and axis not in tensor.open_axes
    ]
    if closed and tensor.open_axes:
        raise UsageError(
            f"input {port.name!r} of shape {tensor.shape}: {text} changes axis {closed[0]}, which the file "
            f"fixes; open are axes {list(tensor.open_axes)}"
        )
    return dims


def _info(value: Value) -> onnx.ValueInfoProto:
    kind = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
    return onnx.helper.make_tensor_value_info(value.name, kind, value.shape)
