"""A .tflite file as plain data. All of it is untrusted: what is read is bounded by the file's size."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import FunctionType
from typing import Any, TypeVar

import numpy as np
import tflite

from tiercast.errors import ModelError

IDENTIFIER = b"TFL3"
MAX_RANK = 8
# What the FlatBuffers accessors raise on bytes that are no FlatBuffer.
_DAMAGE = (struct.error, IndexError, ValueError, TypeError, OverflowError, AttributeError, RecursionError)

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Quantization:
    """real = scales * (stored - zeros), per tensor (one scale) or along `axis`."""

    scales: np.ndarray
    zeros: np.ndarray
    axis: int

    @property
    def per_tensor(self) -> bool:
        """Whether one scale holds for all elements."""
        return self.scales.size == 1


@dataclass(frozen=True)
class Tensor:
    """shape: as the file has it; `open_axes` are those that a caller may change. kind: TensorType's name.

    data: the constant's elements in `shape`; None for a computed tensor.
    """

    name: str
    shape: tuple[int, ...]
    open_axes: tuple[int, ...]
    kind: str
    data: np.ndarray | None
    quantization: Quantization | None
    is_variable: bool
    is_sparse: bool


@dataclass(frozen=True)
class Operator:
    """One call. inputs, outputs: indices of tensors, -1 where an optional one is absent.

    kind: the builtin's name, or CUSTOM with `custom` telling which. options: the fields of the options table
    named `options_kind`.
    """

    index: int
    kind: str
    custom: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options_kind: str
    options: Mapping[str, Any]
    custom_options: bytes

    @property
    def name(self) -> str:
        """How errors and tables call the operator: ADD, or CUSTOM 'name'."""
        return f"CUSTOM {self.custom!r}" if self.kind == "CUSTOM" else self.kind


@dataclass(frozen=True)
class Subgraph:
    """One function: its tensors, and the operators in the order in which they run."""

    name: str
    tensors: list[Tensor]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: list[Operator]


@dataclass(frozen=True)
class Signature:
    """Names of a subgraph's inputs and outputs: name -> tensor."""

    key: str
    subgraph: int
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


@dataclass(frozen=True)
class TfliteModel:
    """The whole file. `subgraphs[0]` is the model; others are bodies of IF, WHILE and the like."""

    subgraphs: list[Subgraph]
    signatures: list[Signature] = field(default_factory=list)


def read_file(data: bytes) -> TfliteModel:
    """Reads the bytes of a .tflite file.

    Raises ModelError when they are no TFLite model, are cut short or damaged, or contradict themselves.
    """
    if len(data) < 8 or data[4:8] != IDENTIFIER:
        raise ModelError(f"not a TFLite model: bytes 4..7 are {data[4:8]!r}, not {IDENTIFIER!r}")
    try:
        return _Reader(data).model()
    except _DAMAGE as error:
        raise ModelError(f"a damaged TFLite model, or one cut short ({len(data)} bytes): {error}") from error


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._root = tflite.Model.GetRootAs(data, 0)

    def model(self) -> TfliteModel:
        root = self._root
        codes = self._items(root.OperatorCodesLength(), root.OperatorCodes, _code)
        count = root.SubgraphsLength()
        if count < 1:
            raise ModelError("the model has no subgraph")
        graphs = self._items(count, root.Subgraphs, lambda graph: self._subgraph(graph, codes))
        signatures = self._items(root.SignatureDefsLength(), root.SignatureDefs, _signature)
        for signature in signatures:
            if not 0 <= signature.subgraph < len(graphs):
                raise ModelError(
                    f"signature {signature.key!r} is of subgraph {signature.subgraph} of {len(graphs)}"
                )
        return TfliteModel(graphs, signatures)

    def _items(self, count: int, item: Callable[[int], Any], convert: Callable[[Any], _Item]) -> list[_Item]:
        """The vector's items; a vector of tables takes at least 4 bytes for each."""
        if not 0 <= count * 4 <= len(self._data):
            raise ModelError(f"a vector of {count} tables does not fit in {len(self._data)} bytes")
        return [convert(item(at)) for at in range(count)]

    def _subgraph(self, graph: Any, codes: list[tuple[str, str]]) -> Subgraph:
        tensors = self._items(graph.TensorsLength(), graph.Tensors, self._tensor)
        inputs, outputs = _indices(graph.InputsAsNumpy()), _indices(graph.OutputsAsNumpy())
        count = graph.OperatorsLength()
        if not 0 <= count * 4 <= len(self._data):
            raise ModelError(f"{count} operators do not fit in {len(self._data)} bytes")
        operators = [_operator(at, graph.Operators(at), codes) for at in range(count)]
        used = [index for op in operators for index in (*op.inputs, *op.outputs) if index != -1]
        wrong = [index for index in (*inputs, *outputs, *used) if not 0 <= index < len(tensors)]
        if wrong:
            raise ModelError(f"it refers to tensor {wrong[0]}; there are {len(tensors)} tensors")
        return Subgraph(_text(graph.Name()), tensors, inputs, outputs, operators)

    def _tensor(self, tensor: Any) -> Tensor:
        name = _text(tensor.Name())
        kind = _enum("TensorType", tensor.Type(), "tensor type")
        dims = tuple(int(dim) for dim in _array(tensor.ShapeAsNumpy()))
        signature = [int(dim) for dim in _array(tensor.ShapeSignatureAsNumpy())]
        if len(dims) > MAX_RANK:
            raise ModelError(f"tensor {name!r} has {len(dims)} dimensions, more than {MAX_RANK}")
        if min(dims, default=0) < -1:
            raise ModelError(f"tensor {name!r} has shape {dims}: a dimension is negative")
        open_axes = {axis for axis, dim in enumerate(dims) if dim == -1}
        if len(signature) == len(dims):
            open_axes |= {axis for axis, dim in enumerate(signature) if dim == -1}
        sparse = tensor.Sparsity() is not None
        data = None if sparse else self._elements(name, kind, dims, int(tensor.Buffer()))
        return Tensor(
            name,
            tuple(max(dim, 1) if dim == -1 else dim for dim in dims),
            tuple(sorted(open_axes)),
            kind,
            data,
            _quantization(tensor.Quantization(), name, dims),
            bool(tensor.IsVariable()),
            sparse,
        )

    def _elements(self, name: str, kind: str, dims: tuple[int, ...], index: int) -> np.ndarray | None:
        count = self._root.BuffersLength()
        if not 0 <= index < count:
            raise ModelError(f"tensor {name!r} lies in buffer {index}; there are {count} buffers")
        raw = self._bytes(index, name)
        if raw is None or kind not in NUMPY:
            return None
        size = math.prod(dims)
        if kind == "INT4":
            return _unpacked(raw, size, name).reshape(dims)
        width = np.dtype(NUMPY[kind]).itemsize
        if raw.size != size * width:
            raise ModelError(
                f"tensor {name!r}: its buffer has {raw.size} bytes, {kind} of shape {dims} has {size * width}"
            )
        return raw.view(NUMPY[kind]).reshape(dims) if raw.size else np.zeros(dims, NUMPY[kind])

    def _bytes(self, index: int, name: str) -> np.ndarray | None:
        """A buffer's bytes; models over 2 GB keep them behind the FlatBuffer. None if it is empty."""
        buffer = self._root.Buffers(index)
        if buffer is None:
            return None
        if buffer.DataLength():
            return np.array(buffer.DataAsNumpy())  # a copy, which is aligned
        start, size = buffer.Offset(), buffer.Size()
        if start <= 1:  # 0: there is none; 1: a placeholder that a converter has never filled
            return None
        if start + size > len(self._data):
            raise ModelError(
                f"tensor {name!r}: its data are bytes {start}..{start + size} of a file of {len(self._data)}"
            )
        return np.frombuffer(self._data, np.uint8, size, start).copy()


NUMPY: Mapping[str, Any] = {
    "FLOAT32": np.float32,
    "FLOAT16": np.float16,
    "FLOAT64": np.float64,
    "INT4": np.int8,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "BOOL": np.bool_,
}


def defaults(options_kind: str) -> Mapping[str, Any]:
    """The fields of an options table that is absent: each at its default in TFLite's schema."""
    empty = struct.pack(
        "<IHHi", 8, 4, 4, 4
    )  # root offset; a vtable without fields; the table's way back to it
    return _fields(options_kind, empty, 8)


def _unpacked(raw: np.ndarray, size: int, name: str) -> np.ndarray:
    """Two 4-bit integers of each byte, the low half first, as int8."""
    if raw.size != (size + 1) // 2:
        raise ModelError(f"tensor {name!r}: its buffer has {raw.size} bytes for {size} 4-bit elements")
    halves = np.stack([raw & 15, raw >> 4], axis=1).reshape(-1)[:size].astype(np.int8)
    signed: np.ndarray = np.where(halves > 7, halves - 16, halves).astype(np.int8)
    return signed


def _quantization(table: Any, name: str, dims: tuple[int, ...]) -> Quantization | None:
    if table is None:
        return None
    scales = np.array(_array(table.ScaleAsNumpy()), np.float32)
    if not scales.size:
        return None
    zeros = np.array(_array(table.ZeroPointAsNumpy()), np.int64)
    zeros = np.zeros(scales.shape, np.int64) if not zeros.size else zeros
    if zeros.size == 1:
        zeros = np.broadcast_to(zeros, scales.shape)
    axis = int(table.QuantizedDimension())
    if not np.all(np.isfinite(scales)) or np.any(scales < 0) or zeros.shape != scales.shape:
        raise ModelError(
            f"tensor {name!r}: {scales.size} scales, {zeros.size} zero points; scales must be finite and not "
            "negative, and there must be a zero point for each"
        )
    if scales.size > 1 and not (0 <= axis < len(dims) and dims[axis] == scales.size):
        raise ModelError(
            f"tensor {name!r} of shape {dims}: {scales.size} scales along axis {axis} do not fit"
        )
    return Quantization(scales, zeros, axis)


def _operator(index: int, op: Any, codes: list[tuple[str, str]]) -> Operator:
    at = int(op.OpcodeIndex())
    if not 0 <= at < len(codes):
        raise ModelError(f"operator {index} has code {at}; there are {len(codes)} codes")
    kind, custom = codes[at]
    options_kind = _enum("BuiltinOptions", op.BuiltinOptionsType(), "options type")
    table = op.BuiltinOptions()
    if table is None:  # the first union is full: newer operators have theirs in a second one
        options_kind = _enum("BuiltinOptions2", op.BuiltinOptions2Type(), "options type")
        table = op.BuiltinOptions2()
    if table is None or options_kind == "NONE":
        options_kind, options = "NONE", dict[str, Any]()
    else:
        options = _fields(options_kind, table.Bytes, table.Pos)
    blob = _array(op.CustomOptionsAsNumpy()).tobytes()
    inputs, outputs = _indices(op.InputsAsNumpy()), _indices(op.OutputsAsNumpy())
    return Operator(index, kind, custom, inputs, outputs, options_kind, options, blob)


def _fields(kind: str, data: bytes, at: int) -> dict[str, Any]:
    """Every scalar, vector and text of an options table by its name in the schema."""
    reader = getattr(tflite, kind)()
    reader.Init(data, at)
    found: dict[str, Any] = {}
    for method, key in _readers(kind):
        value = getattr(reader, method)()
        if method.endswith("AsNumpy"):
            value = _array(value)
        if isinstance(value, (bool, int, float, bytes, np.ndarray)):
            found[key] = value
    return found


@cache
def _readers(kind: str) -> tuple[tuple[str, str], ...]:
    """(method, field) of a generated table class: its getters that take no argument."""
    found = []
    for name, item in vars(getattr(tflite, kind)).items():
        if not isinstance(item, FunctionType) or item.__code__.co_argcount != 1:
            continue
        if not name.endswith(("Length", "IsNone")):
            found.append((name, name.removesuffix("AsNumpy")))
    return tuple(found)


def _code(code: Any) -> tuple[str, str]:
    # Operators newer than 126 are only in the wider field; old files have only the narrow one.
    number = max(int(code.BuiltinCode()), int(code.DeprecatedBuiltinCode()))
    custom = code.CustomCode()
    return _enum("BuiltinOperator", number, "operator"), "" if custom is None else _text(custom)


def _signature(signature: Any) -> Signature:
    def names(count: int, item: Callable[[int], Any]) -> dict[str, int]:
        return {_text(item(at).Name()): int(item(at).TensorIndex()) for at in range(count)}

    return Signature(
        _text(signature.SignatureKey()),
        int(signature.SubgraphIndex()),
        names(signature.InputsLength(), signature.Inputs),
        names(signature.OutputsLength(), signature.Outputs),
    )


def _enum(enum: str, number: int, what: str) -> str:
    name = _names(enum).get(number)
    if name is None:
        raise ModelError(
            f"{what} {number} is unknown: the file is damaged, or newer than TFLite's schema 2.18"
        )
    return name


@cache
def _names(enum: str) -> dict[int, str]:
    return {number: name for name, number in vars(getattr(tflite, enum)).items() if isinstance(number, int)}


def _indices(vector: Any) -> tuple[int, ...]:
    return tuple(int(item) for item in _array(vector))


def _array(vector: Any) -> np.ndarray:
    """FlatBuffers' accessors give 0 for a vector that is absent."""
    return vector if isinstance(vector, np.ndarray) else np.zeros(0, np.int32)


def _text(name: bytes | None) -> str:
    return (name or b"").decode("utf-8", errors="strict")
