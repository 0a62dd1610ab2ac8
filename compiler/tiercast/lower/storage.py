"""Where each physical value lives: its own buffer, or a window on another's (reshape, split and concat in
place).

A window is taken only if every op that touches it takes strided operands, so no step is there only to move
data; what can't be a window is refused with a reason and becomes a `copy` call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from tiercast.ops.registry import DOMAIN, attr, dense_strides, op_of, shape

FREE_OPS = frozenset({"Reshape", "Slice", "Concat"})  # may cost nothing


@dataclass(frozen=True)
class Storage:
    """A value's place: `root` owns the buffer; offset and strides in elements."""

    root: ir.Value
    offset: int
    strides: tuple[int, ...]


@dataclass
class StoragePlan:
    """Storage of every physical value.

    `copies` names each (node, input index) that must copy, with the reason.
    """

    of: dict[ir.Value, Storage] = field(default_factory=dict)
    copies: dict[tuple[ir.Node, int], str] = field(default_factory=dict)


def is_dense(dims: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether the window is one contiguous run (strides of unit dims do not count)."""
    wanted = dense_strides(dims)
    return all(dim == 1 or have == want for dim, have, want in zip(dims, strides, wanted, strict=True))


def place_values(graph: ir.Graph) -> StoragePlan:
    """Decides the storage of every value of a physical graph."""
    plan = StoragePlan()
    outputs = set(graph.outputs)
    # Outermost concats first: an inner one's pieces then land in the outer one's buffer.
    for node in reversed(list(graph)):
        if node.domain == DOMAIN and node.op_type == "Concat":
            _place_concat(node, plan, outputs)
    for value in [*graph.inputs, *graph.initializers.values()]:
        _own(value, plan)
    for node in graph:
        _place_outputs(node, plan, outputs)
    return plan


def _own(value: ir.Value, plan: StoragePlan) -> None:
    plan.of.setdefault(value, Storage(value, 0, dense_strides(shape(value))))


def _place_outputs(node: ir.Node, plan: StoragePlan, outputs: set[ir.Value]) -> None:
    out = node.outputs[0]
    if node.op_type == "Reshape" and node.domain == DOMAIN:
        _place_window(node, plan, outputs, dense_strides(shape(out)), 0, _reshape_refusal(node, plan))
    elif node.op_type == "Slice" and node.domain == DOMAIN:
        source = plan.of[node.inputs[0]]  # type: ignore[index]
        offset = sum(
            start * stride for start, stride in zip(attr(node, "starts"), source.strides, strict=True)
        )
        _place_window(node, plan, outputs, source.strides, offset, None)
    for value in node.outputs:
        _own(value, plan)


def _reshape_refusal(node: ir.Node, plan: StoragePlan) -> str | None:
    source = node.inputs[0]
    assert source is not None
    return None if is_dense(shape(source), plan.of[source].strides) else "its input is a strided window"


def _place_window(
    node: ir.Node,
    plan: StoragePlan,
    outputs: set[ir.Value],
    strides: tuple[int, ...],
    offset: int,
    refusal: str | None,
) -> None:
    source, out = node.inputs[0], node.outputs[0]
    assert source is not None
    if refusal is None and out in plan.of:
        refusal = "its output was already placed in a concat"
    if refusal is None and not is_dense(shape(out), strides):
        refusal = "a graph output must be dense" if out in outputs else _reader_refusal(out, strides)
    if refusal is None:
        base = plan.of[source]
        plan.of[out] = Storage(base.root, base.offset + offset, strides)
    else:
        plan.copies[node, 0] = refusal


def _place_concat(node: ir.Node, plan: StoragePlan, outputs: set[ir.Value]) -> None:
    out = node.outputs[0]
    _own(out, plan)
    base, axis = plan.of[out], int(attr(node, "axis"))
    start = 0
    for index, piece in enumerate(node.inputs):
        assert piece is not None
        refusal = _piece_refusal(piece, base.strides, plan, outputs, node)
        if refusal is None:
            plan.of[piece] = Storage(base.root, base.offset + start * base.strides[axis], base.strides)
        else:
            plan.copies[node, index] = refusal
        start += shape(piece)[axis]


def _piece_refusal(
    piece: ir.Value, strides: tuple[int, ...], plan: StoragePlan, outputs: set[ir.Value], concat: ir.Node
) -> str | None:
    producer = piece.producer()
    if producer is None:
        return "it is a graph input or a constant"
    if piece in plan.of:
        return "it is already placed elsewhere"
    if piece in outputs:
        return "it is a graph output"
    if producer.op_type in ("Reshape", "Slice"):
        return f"it is a window ({producer.op_type})"
    if sum(user is concat for user, _ in piece.uses()) > 1:
        return "it stands twice in the concat"
    if is_dense(shape(piece), strides):
        return None
    if producer.op_type != "Concat" and not op_of(producer).strided_outputs:
        return f"{producer.op_type} can't write a strided window"
    return _reader_refusal(piece, strides, except_for=concat)


def _reader_refusal(
    value: ir.Value, strides: tuple[int, ...], except_for: ir.Node | None = None
) -> str | None:
    if strides and strides[-1] != 1 and shape(value)[-1] != 1:
        return "its last dimension is not contiguous"
    for user, _ in value.uses():
        if user is except_for or user.op_type in ("Concat", "Slice"):
            continue  # these copy from any window
        if user.op_type == "Reshape" or not op_of(user).strided_inputs:
            return f"{user.op_type} can't read a strided window"
    return None
