"""Heavy constants stay outside of what is serialised: protobuf holds 2 GB, and each copy costs memory.

The checker, shape inference, the converters, onnxsim and onnxruntime take a whole model as bytes. They get a
light one, in which heavy constants are inputs of the same name, type and shape; afterwards these become
constants again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import onnx
import onnx_ir as ir

HEAVY_BYTES = 1 << 16  # smaller constants stay: passes over ONNX look at their values (shapes, axes, scales)

Weights = dict[str, ir.TensorProtocol]
_Message = TypeVar("_Message", onnx.ModelProto, onnx.GraphProto)


def light_copy(
    proto: onnx.ModelProto, read: Callable[[onnx.TensorProto], ir.TensorProtocol] | None = None
) -> tuple[onnx.ModelProto, Weights]:
    """A copy of the model without the data of its heavy initializers, and those by name.

    read: makes a tensor of an initializer; default: one that refers to the data in `proto`. External data is
    embedded in the copy where it is not heavy.
    """
    copy = _copied_without(proto, "graph")
    copy.graph.CopyFrom(_copied_without(proto.graph, "initializer"))
    ports = {port.name for port in proto.graph.input}
    weights: Weights = {}
    for tensor in proto.graph.initializer:
        if tensor_bytes(tensor) < HEAVY_BYTES:
            kept = copy.graph.initializer.add()
            external = tensor.data_location == onnx.TensorProto.EXTERNAL
            kept.CopyFrom(ir.to_proto(_embedded(read(tensor))) if external and read else tensor)
            continue
        weights[tensor.name] = read(tensor) if read is not None else ir.serde.deserialize_tensor(tensor)
        if tensor.name not in ports:
            copy.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            )
    return copy, weights


def light_proto(model: ir.Model) -> tuple[onnx.ModelProto, Weights]:
    """The model as a ModelProto without the data of its heavy initializers, and those by name."""
    graph = model.graph
    heavy = [
        value
        for value in graph.initializers.values()
        if value.const_value is not None
        and value.const_value.nbytes >= HEAVY_BYTES
        and not value.is_graph_output()
    ]
    weights: Weights = {}
    for value in heavy:
        tensor = value.const_value
        assert tensor is not None and value.name is not None
        weights[value.name] = tensor
        del graph.initializers[value.name]
        value.type, value.shape = ir.TensorType(tensor.dtype), ir.Shape(tensor.shape.numpy())
        graph.inputs.append(value)
    try:
        proto: onnx.ModelProto = ir.to_proto(model)
    finally:
        give_back(model, weights)
    return proto, weights


def give_back(model: ir.Model, weights: Weights) -> None:
    """Makes the inputs that stand for `weights` constants again, in place; those that nothing reads go."""
    graph = model.graph
    for value in [value for value in graph.inputs if value.name in weights]:
        graph.inputs.remove(value)
        if value.uses() or value.is_graph_output():
            value.const_value = weights[value.name or ""]
            graph.register_initializer(value)


def tensor_bytes(tensor: onnx.TensorProto) -> int:
    """Bytes of the elements that the dims and the type of an initializer promise; 0 where they make none."""
    try:
        bits = ir.DataType(tensor.data_type).bitwidth
    except (TypeError, ValueError):  # strings and unknown types
        return 0
    return -(-math.prod(tensor.dims) * bits // 8) if all(dim >= 0 for dim in tensor.dims) else 0


def _embedded(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    return ir.Tensor(tensor.numpy().copy(), name=tensor.name)


def _copied_without(message: _Message, skipped: str) -> _Message:
    """A copy of a message without one of its fields, whose content is never touched."""
    copy = type(message)()
    for field, value in message.ListFields():
        if field.name == skipped:
            continue
        if field.is_repeated:
            getattr(copy, field.name).extend(value)
        elif field.message_type is not None:
            getattr(copy, field.name).CopyFrom(value)
        else:
            setattr(copy, field.name, value)
    return copy
