"""Copies that are transposes, read and written."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import onnx_ir as ir

from tiercast.ops.registry import DOMAIN, attr, dense_strides, shape


def transposition(node: ir.Node, dims: tuple[int, ...]) -> tuple[int, ...] | None:
    """The perm with which a Copy of a value of `dims` (rank <= 5) is a transpose; None when it is no such."""
    if node.domain != DOMAIN or node.op_type != "Copy" or attr(node, "offset") != 0 or len(dims) > 5:
        return None
    steps = dense_strides(dims)
    axes = zip(attr(node, "dims"), attr(node, "in_strides"), strict=True)
    walked = [(dim, step) for dim, step in axes if dim != 1]
    for perm in itertools.permutations(range(len(dims))):
        same_shape = tuple(dims[axis] for axis in perm) == shape(node.outputs[0])
        if same_shape and [(dims[axis], steps[axis]) for axis in perm if dims[axis] != 1] == walked:
            return perm
    return None


def transposed(value: ir.Value, perm: Sequence[int], name: str) -> ir.Node:
    """A new Copy node that transposes `value`; its output is called `name`."""
    steps = dense_strides(shape(value))
    dims = [shape(value)[axis] for axis in perm]
    order = [steps[axis] for axis in perm]
    attributes: dict[str, int | list[int]] = {"dims": dims, "in_strides": order, "offset": 0, "shape": dims}
    out = ir.Value(name=name, shape=ir.Shape(dims), type=value.type)
    return ir.node("Copy", [value], attributes, domain=DOMAIN, outputs=[out], name=f"{name}/Copy")


def transposes(model: ir.Model) -> list[str]:
    """Names of the Copy nodes of a laid-out graph that only bring a value into another order of axes."""
    found = []
    for node in model.graph:
        source = node.inputs[0] if node.op_type == "Copy" and node.domain == DOMAIN else None
        perm = transposition(node, shape(source)) if source is not None else None
        if source is not None and perm is not None and _moves(perm, shape(source)):
            found.append(node.name or "")
    return found


def _moves(perm: Sequence[int], dims: Sequence[int]) -> bool:
    moving = [axis for axis in perm if dims[axis] != 1]
    return moving != sorted(moving)
