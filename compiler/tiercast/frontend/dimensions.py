"""Fixing a model's named dimensions: `--input name:1x3x256x256`."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence

import onnx

from tiercast.errors import ModelError, UsageError

_HOW_TO_OPEN = (
    "; to have other sizes, export the model with this dimension open (dynamic_shapes of torch.export.export "
    "or of torch.onnx.export)"
)


def fix_dimensions(
    proto: onnx.ModelProto, inputs: Mapping[str, Sequence[int]], origin: str, apart: Container[str] = ()
) -> None:
    """Replaces dynamic dimensions of the graph inputs, in place, by the given shapes.

    apart: names of inputs that stand for constants. A named dimension fixed on one input is fixed wherever it
    appears. Raises UsageError for an unknown input, a wrong rank, or a value that contradicts the model;
    ModelError that lists what is still open and the flag that fixes it.
    """
    ports = {port.name: port for port in _runtime_inputs(proto, apart)}
    for name in inputs:
        if name not in ports:
            raise UsageError(
                f"{origin}: there is no input {name!r}; the model's inputs are {', '.join(ports) or 'none'}"
            )
    names: dict[str, int] = {}
    for name, shape in inputs.items():
        _fix_port(ports[name], tuple(shape), names, origin)
    for port in ports.values():
        for dim in port.type.tensor_type.shape.dim:
            if dim.dim_param in names:
                _set(dim, names[dim.dim_param])
    _refuse_open(ports.values(), origin)
    for port in proto.graph.output:  # inference says what these become
        for dim in port.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value"):
                dim.Clear()


def symbolic_dimensions(proto: onnx.ModelProto, apart: Container[str] = ()) -> dict[str, list[str]]:
    """The names of each input's dimensions, "" for a static one or one without a name.

    apart: names of inputs that stand for constants.
    """
    return {
        port.name: [dim.dim_param for dim in port.type.tensor_type.shape.dim]
        for port in _runtime_inputs(proto, apart)
    }


def _runtime_inputs(proto: onnx.ModelProto, apart: Container[str]) -> list[onnx.ValueInfoProto]:
    constants = {tensor.name for tensor in proto.graph.initializer}
    return [port for port in proto.graph.input if port.name not in constants and port.name not in apart]


def _fix_port(port: onnx.ValueInfoProto, shape: tuple[int, ...], names: dict[str, int], origin: str) -> None:
    tensor = port.type.tensor_type
    empty = [dim.HasField("dim_value") and dim.dim_value == 0 for dim in tensor.shape.dim]
    known = empty if len(empty) == len(shape) else [False] * len(shape)
    if any(size < 1 and not (size == 0 and given) for size, given in zip(shape, known, strict=True)):
        raise UsageError(f"{origin}: input {port.name!r}: shape {_text(shape)} has a dimension below 1")
    if max(shape, default=1) >= 1 << 31 or math.prod(shape) > 1 << 40:
        raise UsageError(
            f"{origin}: input {port.name!r}: shape {_text(shape)} is too large; dimensions must be below "
            "2^31, and 2^40 elements are the most"
        )
    if not tensor.HasField("shape"):
        for _ in shape:
            tensor.shape.dim.add()
    if len(tensor.shape.dim) != len(shape):
        raise UsageError(
            f"{origin}: input {port.name!r} has {len(tensor.shape.dim)} dimensions ({_dims(port)}), "
            f"{_text(shape)} has {len(shape)}"
        )
    for axis, (dim, size) in enumerate(zip(tensor.shape.dim, shape, strict=True)):
        fixed = dim.dim_value if dim.HasField("dim_value") else names.get(dim.dim_param, size)
        if fixed != size:
            raise UsageError(
                f"{origin}: input {port.name!r}: dimension {axis} ({dim.dim_param or 'static'}) is {fixed} "
                f"already, not {size}{'' if dim.dim_param else _HOW_TO_OPEN}"
            )
        if dim.dim_param:
            names[dim.dim_param] = size
        _set(dim, size)


def _set(dim: onnx.TensorShapeProto.Dimension, size: int) -> None:
    dim.Clear()
    dim.dim_value = size


def _refuse_open(ports: object, origin: str) -> None:
    open_ports = []
    for port in ports:  # type: ignore[attr-defined]
        tensor = port.type.tensor_type
        if not port.type.HasField("tensor_type"):
            kind = port.type.WhichOneof("value")
            raise ModelError(f"{origin}: input {port.name!r} is a {kind}; only tensors can be inputs")
        if not tensor.HasField("shape") or any(not dim.HasField("dim_value") for dim in tensor.shape.dim):
            open_ports.append(port)
        elif any(dim.dim_value < 0 for dim in tensor.shape.dim):
            raise ModelError(f"{origin}: input {port.name!r} has a dimension below 0 ({_dims(port)})")
    if open_ports:
        lines = "\n".join(f"  {port.name}: {_dims(port)}" for port in open_ports)
        flags = " ".join(f"--input {port.name}:{_example(port)}" for port in open_ports)
        raise ModelError(f"{origin}: these inputs have dynamic dimensions:\n{lines}\nFix them, e.g. {flags}")


def _dims(port: onnx.ValueInfoProto) -> str:
    tensor = port.type.tensor_type
    if not tensor.HasField("shape"):
        return "unknown rank"
    return (
        "x".join(
            str(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param or "?"
            for dim in tensor.shape.dim
        )
        or "scalar"
    )


def _example(port: onnx.ValueInfoProto) -> str:
    tensor = port.type.tensor_type
    if not tensor.HasField("shape"):
        return "1x3x256x256"
    dims = tensor.shape.dim
    channels_last = len(dims) == 4 and dims[3].HasField("dim_value") and not dims[1].HasField("dim_value")
    picture = [1, 256, 256, 3] if channels_last else [1, 3, 256, 256]
    guesses = picture if len(dims) == 4 else [1] * len(dims)
    return "x".join(
        str(dim.dim_value) if dim.HasField("dim_value") else str(guess)
        for dim, guess in zip(dims, guesses, strict=True)
    )


def _text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"
