"""The ONNX graph under way: every node's shapes are inferred, and constants computed, as it is added."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import defs, shape_inference

from tiercast.errors import ModelError
from tiercast.frontend.opset import HUB_OPSET
from tiercast.ir.weights import HEAVY_BYTES, Weights

_OPSETS = [onnx.helper.make_opsetid("", HUB_OPSET)]
_IR_VERSION = 11
_FOLDED_ELEMENTS = 1 << 20  # larger results are left to the compiler's own folding
_KEPT = frozenset({"DequantizeLinear"})  # weights stay integers


@dataclass(eq=False)
class Value:
    """A value of the ONNX graph; `array` holds a constant's elements."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    array: np.ndarray | None = None


class Builder:
    """Nodes in topological order, and the constants they read."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, Value] = {}
        self._used: set[str] = set()
        self._names: set[str] = set()
        self._stem = ""

    def start(self, stem: str) -> None:
        """Names of the following nodes and values begin with `stem`."""
        self._stem = stem

    def reserve(self, name: str) -> str:
        """A free name that begins with `name`; taken from now on."""
        free, count = name, 1
        while free in self._names:
            free, count = f"{name}.{count}", count + 1
        self._names.add(free)
        return free

    def constant(self, array: Any, dtype: Any = None, name: str | None = None) -> Value:
        """A constant; it becomes an initializer where a node reads it."""
        data = np.asarray(array, dtype)
        value = Value(self.reserve(name or f"{self._stem}/constant"), data.shape, data.dtype, data)
        self._constants[value.name] = value
        return value

    def ints(self, numbers: Sequence[int]) -> Value:
        """A constant s64 vector."""
        return self.constant(np.asarray(list(numbers), np.int64))

    def emit(self, op_type: str, inputs: Sequence[Value | None], /, **attributes: Any) -> Value:
        """Appends a node with one output; computes it at once when all it reads is constant.

        Raises ModelError when shapes or types do not fit the operator.
        """
        return self.emit_many(op_type, inputs, 1, **attributes)[0]

    def emit_many(
        self, op_type: str, inputs: Sequence[Value | None], count: int, /, **attributes: Any
    ) -> list[Value]:
        """Like `emit`, for `count` outputs."""
        names = [self.reserve(f"{self._stem}/{op_type}") for _ in range(count)]
        given = {key: item for key, item in attributes.items() if item is not None}
        node = onnx.helper.make_node(
            op_type, [value.name if value else "" for value in inputs], names, name=names[0], **given
        )
        made = self._inferred(node, [value for value in inputs if value is not None])
        if self._is_constant(op_type, inputs, made):
            return self._computed(node, inputs, made)
        self._used.update(value.name for value in inputs if value is not None)
        self.nodes.append(node)
        return made

    def mark(self, value: Value, key: str, content: str) -> None:
        """Metadata for the newest node, which made `value`; a constant, which no node makes, gets none."""
        if value.array is None:
            self.nodes[-1].metadata_props.add(key=key, value=content)

    def output(self, value: Value, name: str) -> Value:
        """The value under a port's name: an Identity, which the compiler removes."""
        made = Value(self.reserve(name), value.shape, value.dtype)
        self._used.add(value.name)
        self.nodes.append(onnx.helper.make_node("Identity", [value.name], [made.name], name=made.name))
        return made

    def model(
        self, name: str, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
    ) -> tuple[onnx.ModelProto, Weights]:
        """The model, whose heavy constants are inputs, and these constants by name (see `ir.weights`)."""
        read = [value for value in self._constants.values() if value.name in self._used]
        arrays = {value.name: np.ascontiguousarray(value.array).reshape(value.shape) for value in read}
        heavy = {name: array for name, array in arrays.items() if array.nbytes >= HEAVY_BYTES}
        ports = [
            onnx.helper.make_tensor_value_info(
                name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
            )
            for name, array in heavy.items()
        ]
        light = [
            onnx.numpy_helper.from_array(array, name) for name, array in arrays.items() if name not in heavy
        ]
        graph = onnx.helper.make_graph(self.nodes, name, [*inputs, *ports], outputs, light)
        proto = onnx.helper.make_model(graph, opset_imports=_OPSETS, ir_version=_IR_VERSION)
        return proto, {name: ir.Tensor(array, name=name) for name, array in heavy.items()}

    def _inferred(self, node: onnx.NodeProto, inputs: Sequence[Value]) -> list[Value]:
        types = {value.name: _type(value) for value in inputs}
        data = {
            value.name: onnx.numpy_helper.from_array(value.array, value.name)
            for value in inputs
            if value.array is not None and value.array.size <= 64
        }
        try:
            made = shape_inference.infer_node_outputs(
                defs.get_schema(node.op_type, HUB_OPSET, ""),
                node,
                types,
                data,
                opset_imports=_OPSETS,
                ir_version=_IR_VERSION,
            )
        except (
            shape_inference.InferenceError,
            onnx.checker.ValidationError,
            RuntimeError,
            ValueError,
        ) as error:
            shapes = ", ".join(f"{value.dtype}{list(value.shape)}" for value in inputs)
            raise ModelError(f"{node.op_type} of {shapes}: {error}") from error
        return [_value(name, made.get(name)) for name in node.output]

    def _is_constant(self, op_type: str, inputs: Sequence[Value | None], made: Sequence[Value]) -> bool:
        if op_type in _KEPT or not inputs:
            return False
        small = all(math.prod(value.shape) <= _FOLDED_ELEMENTS for value in made)
        return small and all(value is None or value.array is not None for value in inputs)

    def _computed(
        self, node: onnx.NodeProto, inputs: Sequence[Value | None], made: Sequence[Value]
    ) -> list[Value]:
        canonical = onnx.NodeProto()
        canonical.CopyFrom(node)
        canonical.name = ""
        canonical.input[:] = [f"i{at}" if name else "" for at, name in enumerate(node.input)]
        canonical.output[:] = [f"o{at}" for at in range(len(node.output))]
        feeds = {f"i{at}": value.array for at, value in enumerate(inputs) if value is not None}
        try:
            with np.errstate(all="ignore"):
                results = _evaluator(canonical.SerializeToString()).run(None, feeds)
        except Exception as error:  # numpy's and the evaluator's own errors
            raise ModelError(f"the constant {node.op_type} can't be computed: {error}") from error
        for value, result in zip(made, results, strict=True):
            value.array = np.asarray(result, value.dtype)
            value.shape = value.array.shape
            self._constants[value.name] = value
        return list(made)


@lru_cache(maxsize=256)
def _evaluator(node: bytes) -> Any:
    """What computes a node; making one takes longer than running it."""
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(onnx.NodeProto.FromString(node), opsets={"": HUB_OPSET})


def _type(value: Value) -> onnx.TypeProto:
    return onnx.helper.make_tensor_type_proto(onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)


def _value(name: str, kind: onnx.TypeProto | None) -> Value:
    if kind is None or not kind.tensor_type.HasField("shape"):
        raise ModelError("the shape of its result depends on data; Tiercast plans memory for static shapes")
    tensor = kind.tensor_type
    if any(not dim.HasField("dim_value") for dim in tensor.shape.dim):
        raise ModelError("the shape of its result depends on data; Tiercast plans memory for static shapes")
    dims = tuple(int(dim.dim_value) for dim in tensor.shape.dim)
    return Value(name, dims, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
