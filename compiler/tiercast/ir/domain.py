"""The tiercast domain as ONNX sees it: schemas with shape inference, so that every stage is a checked ONNX
model.

The ops are handed in (`register`), because they live above the graph.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import onnx
import onnx_ir as ir
from onnx import defs

from tiercast.errors import TiercastError

DOMAIN = "tiercast"
QUANTIZED = (
    "tiercast.quantized"  # operators on integers in ONNX's memory order: quantize_operators makes them
)
VERSION = 1
_ATTRIBUTE_TYPES = {int: "INT", float: "FLOAT", str: "STRING"}


class PhysicalOp(Protocol):
    """What the graph needs to know of an op; `ops.registry.Op` is one."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names; "?" marks an optional, "*" a variadic last input."""

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Attribute name -> default."""

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """Output types of a node."""

    def infer_onnx(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """Output types of an ONNX node of a user's own domain."""


# "domain::OpType" -> the op that takes it, of users' own domains; onnx.defs, where they are declared, is one
# for all threads, hence the lock.
_FOREIGN: ContextVar[Mapping[str, PhysicalOp] | None] = ContextVar("foreign operators", default=None)
_DECLARED: dict[str, str] = {}  # "domain::OpType" -> domain
_LOCK = threading.RLock()
_REGISTERED: dict[str, PhysicalOp] = {}


def register(ops: Mapping[str, PhysicalOp]) -> None:
    """Makes the ops known to the graph's specs and schemas."""
    _REGISTERED.update(ops)


@contextmanager
def schemas(graph: ir.Graph) -> Iterator[None]:
    """Within it, onnx.defs has a schema, with shape inference, for each of our ops in the graph.

    Only within: onnx.reference refuses to work while two domains have an operator of one name. The graph is
    needed because only nodes show the types of the attributes that have no default.
    """
    names: list[str] = []
    try:
        for node in graph:
            op = _REGISTERED.get(node.op_type) if node.domain == DOMAIN else None
            if op is not None and node.op_type not in names:
                defs.register_schema(_schema(node, op))
                names.append(node.op_type)
        yield
    finally:
        for name in names:
            defs.deregister_schema(name, VERSION, DOMAIN)


def validate(model: ir.Model) -> None:
    """onnx.checker and strict shape inference over any stage, our ops included; raises their errors."""
    proto = ir.to_proto(model)
    del proto.graph.value_info[:]
    with schemas(model.graph):
        onnx.checker.check_model(proto)
        onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)


@contextmanager
def foreign(takers: Mapping[str, PhysicalOp]) -> Iterator[None]:
    """Within it graphs may hold these ONNX operators of users' own domains ("domain::OpType" -> its op).

    One thread at a time is within, because ONNX's schemas are one set for all.
    """
    with _LOCK:
        token = _FOREIGN.set({**(_FOREIGN.get() or {}), **takers})
        before = set(_DECLARED)
        try:
            yield
        finally:
            _FOREIGN.reset(token)
            for key in set(_DECLARED) - before:
                domain = _DECLARED.pop(key)
                defs.deregister_schema(key.removeprefix(f"{domain}::"), VERSION, domain)


def is_foreign(node: ir.Node) -> bool:
    """Whether the node is an ONNX operator that `foreign` allows."""
    return f"{node.domain}::{node.op_type}" in (_FOREIGN.get() or {})


def declare_foreign(proto: onnx.ModelProto) -> None:
    """Gives the model's nodes that `foreign` allows a schema with shape inference, until its end.

    A schema has the attributes of all the nodes: they are the op's business.
    """
    takers = _FOREIGN.get() or {}
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in (*proto.graph.node, *(node for function in proto.functions for node in function.node)):
        key = f"{node.domain}::{node.op_type}"
        if key in takers:
            found.setdefault(key, []).append(node)
    for key, same in found.items():
        domain = same[0].domain
        if key in _DECLARED:  # by another model within
            defs.deregister_schema(same[0].op_type, VERSION, domain)
        attributes = {attr.name: attr.type for node in same for attr in node.attribute}
        schema = defs.OpSchema(
            same[0].op_type,
            domain,
            VERSION,
            inputs=[_parameter("x", "T", variadic=True)],
            outputs=[_parameter("y", "T", variadic=True)],
            type_constraints=[("T", _tensor_types(), "")],
            attributes=[_attribute(name, kind) for name, kind in attributes.items()],
        )
        infer = _inference(domain, same[0].op_type, list(attributes), takers[key].infer_onnx)
        schema.set_type_and_shape_inference_function(infer)
        defs.register_schema(schema)
        _DECLARED[key] = domain


def registered() -> Mapping[str, PhysicalOp]:
    """The ops registered so far, by op_type."""
    return _REGISTERED


def input_limits(op: PhysicalOp) -> tuple[int, float]:
    """Least and most number of inputs."""
    least = sum(not name.endswith(("?", "*")) for name in op.inputs)
    most = float("inf") if op.inputs and op.inputs[-1].endswith("*") else len(op.inputs)
    return least, most


def _schema(node: ir.Node, op: PhysicalOp) -> defs.OpSchema:
    option = defs.OpSchema.FormalParameterOption
    options = {"?": option.Optional, "*": option.Variadic}
    every = _tensor_types()
    inputs = [
        defs.OpSchema.FormalParameter(
            text.rstrip("?*"),
            f"T{index}",
            param_option=options.get(text[-1], option.Single),
            is_homogeneous=False,
        )
        for index, text in enumerate(op.inputs)
    ]
    outputs = [_parameter("y", "T", variadic=True)]
    schema = defs.OpSchema(
        node.op_type,
        DOMAIN,
        VERSION,
        doc=(type(op).__doc__ or "").strip(),
        inputs=inputs,
        outputs=outputs,
        type_constraints=[(f"T{index}", every, "") for index in range(len(inputs))] + [("T", every, "")],
        attributes=[
            defs.OpSchema.Attribute(
                key, _attribute_type(default, node.attributes.get(key)), "", required=False
            )
            for key, default in op.attributes.items()
        ],
    )
    infer = _inference(DOMAIN, node.op_type, list(op.attributes), op.infer)
    schema.set_type_and_shape_inference_function(infer)
    return schema


def _attribute(name: str, kind: int) -> defs.OpSchema.Attribute:
    text = onnx.AttributeProto.AttributeType.Name(kind)
    return defs.OpSchema.Attribute(name, getattr(defs.OpSchema.AttrType, text), "", required=False)


def _parameter(name: str, kind: str, variadic: bool) -> defs.OpSchema.FormalParameter:
    option = defs.OpSchema.FormalParameterOption
    chosen = option.Variadic if variadic else option.Single
    return defs.OpSchema.FormalParameter(name, kind, param_option=chosen, is_homogeneous=False, min_arity=0)


def _tensor_types() -> list[str]:
    kinds = defs.get_schema("Size").type_constraints[0].allowed_type_strs
    return [kind for kind in kinds if "tensor" in kind]


def _attribute_type(default: object, seen: ir.Attr | None) -> defs.OpSchema.AttrType:
    """The ONNX type of an attribute: what a node has, else that of the default (a list's by its items)."""
    items = list(default) if isinstance(default, (list, tuple)) else [default]
    name = _ATTRIBUTE_TYPES.get(type(items[0]) if items else int, "INT")
    name += "S" if isinstance(default, (list, tuple)) else ""
    found: defs.OpSchema.AttrType = getattr(
        defs.OpSchema.AttrType, seen.type.name if seen is not None else name
    )
    return found


def _inference(
    domain: str,
    name: str,
    attributes: Sequence[str],
    rule: Callable[[ir.Node], list[tuple[ir.DataType, tuple[int, ...]]]],
) -> Any:
    def infer(context: Any) -> None:
        if not all(_is_static(context.get_input_type(index)) for index in range(context.get_num_inputs())):
            return
        values = [_input(context, index) for index in range(context.get_num_inputs())]
        protos = [context.get_attribute(key) for key in attributes]
        known = [ir.from_proto(proto) for proto in protos if proto is not None and proto.name]
        node = ir.Node(domain, name, values, known, num_outputs=context.get_num_outputs(), name=name)
        try:
            types = rule(node)
        except TiercastError as error:
            raise onnx.shape_inference.InferenceError(str(error)) from error
        for index, (kind, dims) in enumerate(types):
            context.set_output_type(index, onnx.helper.make_tensor_type_proto(int(kind), _dims(dims)))

    return infer


def _is_static(proto: Any) -> bool:
    """Whether an operand is absent or its shape fully known."""
    if proto is None:
        return True
    tensor = proto.tensor_type
    return tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim)


def _dims(dims: Sequence[int]) -> list[int | str | None]:
    return list(dims)


def _input(context: Any, index: int) -> ir.Value | None:
    proto = context.get_input_type(index)
    if proto is None:
        return None
    dims = [dim.dim_value for dim in proto.tensor_type.shape.dim]
    data = context.get_input_data(index)
    const = ir.from_proto(data) if data is not None else None
    kind = ir.TensorType(ir.DataType(proto.tensor_type.elem_type))
    return ir.Value(name=f"in{index}", shape=ir.Shape(dims), type=kind, const_value=const)
