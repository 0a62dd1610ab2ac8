"""Legalisation's view of the graph: logical ONNX values and the physical values that hold them.

A physical value holds transpose(logical value, perm). Perms are lazy: an ONNX Transpose only composes them,
and a copy is made when a consumer demands an order that does not exist yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ir.edit import static_shape
from tiercast.ops.registry import DOMAIN, const, dense_strides, dtype, ops, shape

MAX_COPY_AXES = 8  # of the kernel `copy`

Perm = tuple[int, ...]
CHANNELS_LAST: Perm = (0, 2, 3, 1)


class Layouter:
    """Builds the physical graph while ONNX nodes are legalised in topological order."""

    def __init__(self) -> None:
        self.nodes: list[ir.Node] = []
        self.initializers: dict[str, ir.Value] = {}
        self._forms: dict[ir.Value, dict[Perm, ir.Value]] = {}
        self._primary: dict[ir.Value, Perm] = {}
        self._names: set[str] = set()
        self._origin = ""
        self.gaps: list[ir.Value] = []
        self.loose: list[ir.Value] = []
        self._unknown: dict[ir.Value, str] = {}

    # -- logical facts
    def shape(self, value: ir.Value) -> tuple[int, ...]:
        """Static logical shape of an ONNX value."""
        return shape(value)

    def dtype(self, value: ir.Value) -> ir.DataType:
        """Element type of an ONNX value."""
        return dtype(value)

    def const(self, value: ir.Value | None) -> np.ndarray | None:
        """The array of a constant ONNX value in logical order, else None."""
        return const(value)

    # -- physical forms
    def perm(self, value: ir.Value) -> Perm:
        """The perm of the value's first physical form; the identity for a constant."""
        return self._primary.get(value, tuple(range(len(shape(value)))))

    def plain(self, value: ir.Value) -> ir.Value:
        """A physical value in the logical order."""
        return self.as_perm(value, tuple(range(len(shape(value)))))

    def channels_last(self, value: ir.Value) -> ir.Value:
        """A physical NHWC value of a rank-4 logical NCHW value; GraphError at another rank."""
        if len(shape(value)) != 4:
            raise GraphError(f"value {value.name!r} of shape {shape(value)} is not N,C,H,W (rank 4)")
        return self.as_perm(value, CHANNELS_LAST)

    def as_perm(self, value: ir.Value, perm: Sequence[int]) -> ir.Value:
        """A physical value that holds transpose(value, perm); makes a copy only if no such form exists."""
        wanted = tuple(int(axis) for axis in perm)
        forms = self._forms.setdefault(value, {})
        if wanted in forms:
            return forms[wanted]
        array = const(value)
        if array is not None:
            forms[wanted] = self.constant(np.asarray(np.transpose(array, wanted), order="C"), f"{value.name}")
        elif forms:
            forms[wanted] = self._reorder(value, self._primary[value], wanted)
        else:
            raise GraphError(f"value {value.name!r} is used before it is computed")
        return forms[wanted]

    def constant(self, array: np.ndarray, name_hint: str = "const") -> ir.Value:
        """An initializer of the physical graph."""
        name = self._fresh(name_hint)
        tensor = ir.tensor(array, name=name)
        value = ir.Value(
            name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
        )
        self.initializers[name] = value
        return value

    def emit(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Any] | None = None,
        outputs: int = 1,
        names: Sequence[str] | None = None,
    ) -> list[ir.Value]:
        """Appends a physical node and infers its output types; GraphError from the op's own `infer`."""
        op = ops().get(op_type)
        if op is None:
            raise GraphError(f"physical op {op_type!r} does not exist")
        known = [ir.convenience.convert_attribute(key, item) for key, item in (attributes or {}).items()]
        stem = f"{self._origin or op_type}"
        given = [self._fresh(name) for name in names or [stem] * outputs]
        values = [ir.Value(name=name) for name in given]
        node = ir.Node(
            DOMAIN,
            op_type,
            list(inputs),
            attributes=known,
            outputs=values,
            name=self._fresh(f"{stem}/{op_type}"),
        )
        for value, (kind, dims) in zip(values, op.infer(node), strict=True):
            value.type = ir.TensorType(kind)
            value.shape = ir.Shape(dims)
        self.nodes.append(node)
        return values

    def alias(self, physical: ir.Value, new_shape: Sequence[int]) -> ir.Value:
        """The same elements under another shape (a Reshape node, which costs nothing)."""
        if tuple(new_shape) == shape(physical):
            return physical
        return self.emit("Reshape", [physical], {"shape": [int(dim) for dim in new_shape]})[0]

    def transpose(self, physical: ir.Value, axes: Sequence[int]) -> ir.Value:
        """transpose(physical, axes): free when only unit dims move, else a Copy."""
        dims = [shape(physical)[axis] for axis in axes]
        moving = [axis for axis in axes if shape(physical)[axis] != 1]
        if moving == sorted(moving):
            return self.alias(physical, dims)
        steps = dense_strides(shape(physical))
        kept = [axis for axis in axes if len(dims) <= MAX_COPY_AXES or shape(physical)[axis] != 1]
        attributes = {
            "dims": [shape(physical)[axis] for axis in kept],
            "in_strides": [steps[axis] for axis in kept],
            "offset": 0,
            "shape": [shape(physical)[axis] for axis in kept],
        }
        return self.alias(self.emit("Copy", [physical], attributes)[0], dims)

    def bind(self, value: ir.Value, physical: ir.Value, perm: Sequence[int] | None = None) -> None:
        """Declares that `physical` holds the ONNX value, in `perm` (default: logical order)."""
        order = tuple(int(axis) for axis in perm) if perm is not None else tuple(range(len(shape(value))))
        expected = tuple(shape(value)[axis] for axis in order)
        if shape(physical) != expected:
            raise GraphError(
                f"value {value.name!r}: physical shape {shape(physical)} is not {expected} (perm {order})"
            )
        self._forms.setdefault(value, {})[order] = physical
        self._primary.setdefault(value, order)
        physical.metadata_props.setdefault("source", value.name or "")
        physical.metadata_props.setdefault("perm", ",".join(map(str, order)))

    def reserve(self, name: str) -> str:
        """A free name that starts with `name`; taken from now on."""
        return self._fresh(name)

    def start(self, node: ir.Node) -> None:
        """Tells which ONNX node the next emitted nodes come from (they take its first output's name)."""
        self._origin = node.outputs[0].name or node.op_type

    # -- nodes that were refused while refusals are collected
    def leave_gap(self, node: ir.Node, culprit: str) -> None:
        """Goes on behind a node that could not be legalised.

        Its results join `gaps`, physical values that nothing here computes; what it reads joins `loose`, so
        that it counts as used. Results of unknown shape block whoever reads them; culprit: the operator to
        name for it.
        """
        for value in node.inputs:
            form = next(iter(self._forms.get(value, {}).values()), None) if value is not None else None
            if form is not None and form.producer() is not None and form not in self.loose:
                self.loose.append(form)
        for value in node.outputs:
            if value in self._forms:
                continue
            if static_shape(value) is None or value.dtype is None:
                self._unknown[value] = culprit
                continue
            made = ir.Value(name=self._fresh(value.name or "gap"), shape=value.shape, type=value.type)
            self.gaps.append(made)
            self.bind(value, made)

    def blocked_by(self, node: ir.Node) -> str | None:
        """The operator whose gap makes the shape of an operand unknown, None where there is none."""
        return next((self._unknown[value] for value in node.inputs if value in self._unknown), None)

    def is_unknown(self, value: ir.Value) -> bool:
        """Whether a gap left the ONNX value without a known shape."""
        return value in self._unknown

    def _reorder(self, value: ir.Value, have: Perm, wanted: Perm) -> ir.Value:
        source = self._forms[value][have]
        made = self.transpose(source, [have.index(axis) for axis in wanted])
        made.metadata_props.setdefault("source", value.name or "")
        made.metadata_props.setdefault("perm", ",".join(map(str, wanted)))
        return made

    def _fresh(self, hint: str) -> str:
        name, count = hint, 1
        while name in self._names:
            name, count = f"{hint}.{count}", count + 1
        self._names.add(name)
        return name
