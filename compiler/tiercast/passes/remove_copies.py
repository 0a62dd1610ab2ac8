"""Steps that only move data: joined, turned into free views, or removed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import insert_before, only_user, remove_dead, take_over
from tiercast.ir.report import PassReport, label
from tiercast.ir.slots import set_attribute
from tiercast.ops.registry import DOMAIN, attr, dense_strides, shape
from tiercast.passes.transposition import transposed, transposition


def remove_copies(model: ir.Model) -> PassReport:
    """Joins chains of Copy and Reshape, takes slices out of concats, drops what changes nothing and what
    nobody reads.

    A Concat or Pad whose result is only read transposed moves behind the transpose: pieces are then written
    in place, and pads stand where convolutions take them. Runs until nothing changes, in place. Values that
    are ports of the model keep a node of their own.
    """
    report = PassReport("remove_copies")
    changed = True
    while changed:
        changed = False
        for node in list(model.graph):
            rule = _RULES.get(node.op_type) if node.domain == DOMAIN else None
            what = rule(node) if rule is not None else None
            if what is not None:
                report.apply(node, what)
                changed = True
        remove_dead(model.graph)
    return report


def _copy(node: ir.Node) -> str | None:
    source = node.inputs[0]
    assert source is not None
    producer = source.producer()
    if producer is not None and producer.domain == DOMAIN and producer.op_type == "Reshape":
        node.replace_input_with(
            0, producer.inputs[0]
        )  # a copy counts elements, it does not look at the shape
        return f"reads past {label(producer)}"
    if (
        producer is not None
        and producer.domain == DOMAIN
        and producer.op_type == "Copy"
        and _join(producer, node)
    ):
        return f"joined with {label(producer)}"
    if _is_identity(node):
        _become_reshape(node)
        return "moves nothing: now a view"
    twin = _twin(node, source)
    if twin is not None and not node.outputs[0].is_graph_output():
        node.outputs[0].replace_all_uses_with(twin.outputs[0])
        return f"is {label(twin)} again"
    mover = _MOVERS.get(producer.op_type) if producer is not None and producer.domain == DOMAIN else None
    perm = transposition(node, shape(source)) if mover is not None and only_user(source) is node else None
    if mover is None or perm is None or producer is None:
        return None
    mover(producer, node, perm)
    return f"moved before {label(producer)}"


def _twin(node: ir.Node, source: ir.Value) -> ir.Node | None:
    """An earlier Copy of the same elements into the same shape."""
    for use in source.uses():
        other = use.node
        if other is node or other.op_type != "Copy" or not _stands_before(other, node):
            continue
        if all(attr(other, key) == attr(node, key) for key in ("dims", "in_strides", "offset", "shape")):
            return other
    return None


def _stands_before(first: ir.Node, second: ir.Node) -> bool:
    for node in first.graph or ():
        if node is first or node is second:
            return node is first
    return False


def _move_concat(concat: ir.Node, copy: ir.Node, perm: tuple[int, ...]) -> None:
    stem = concat.outputs[0].name
    pieces = [value for value in concat.inputs if value is not None]
    copies = [transposed(piece, perm, f"{stem}.piece{index}") for index, piece in enumerate(pieces)]
    joined = ir.Value(name=f"{stem}.joined", shape=copy.outputs[0].shape, type=copy.outputs[0].type)
    inputs = [item.outputs[0] for item in copies]
    axis = {"axis": perm.index(int(attr(concat, "axis")))}
    made = ir.node("Concat", inputs, axis, domain=DOMAIN, outputs=[joined], name=concat.name)
    insert_before(copy, [*copies, made])
    take_over(copy.outputs[0], joined)


def _move_pad(pad: ir.Node, copy: ir.Node, perm: tuple[int, ...]) -> None:
    source, out = pad.inputs[0], copy.outputs[0]
    assert source is not None
    moved = transposed(source, perm, f"{pad.outputs[0].name}.source")
    pads: list[int] = attr(pad, "pads")
    attributes: dict[str, list[int] | str | float] = {
        "pads": [pads[axis + end] for end in (0, len(perm)) for axis in perm],
        "mode": attr(pad, "mode"),
        "value": attr(pad, "value"),
    }
    padded = ir.Value(name=f"{pad.outputs[0].name}.padded", shape=out.shape, type=out.type)
    made = ir.node("Pad", moved.outputs, attributes, domain=DOMAIN, outputs=[padded], name=pad.name)
    insert_before(copy, [moved, made])
    take_over(out, padded)


_MOVERS: dict[str, Callable[[ir.Node, ir.Node, tuple[int, ...]], None]] = {
    "Concat": _move_concat,
    "Pad": _move_pad,
}


def _is_identity(node: ir.Node) -> bool:
    source = node.inputs[0]
    assert source is not None
    axes = [
        (dim, step)
        for dim, step in zip(attr(node, "dims"), attr(node, "in_strides"), strict=True)
        if dim != 1
    ]
    dense = dense_strides([dim for dim, _ in axes])
    whole = math.prod(shape(source)) == math.prod(attr(node, "dims"))
    return whole and attr(node, "offset") == 0 and tuple(step for _, step in axes) == dense


def _become_reshape(node: ir.Node) -> None:
    out = node.outputs[0]
    value = ir.Value(name=f"{out.name}.view", shape=out.shape, type=out.type)
    insert_before(
        node,
        [
            ir.node(
                "Reshape",
                node.inputs,
                {"shape": list(shape(out))},
                domain=DOMAIN,
                outputs=[value],
                name=node.name,
            )
        ],
    )
    take_over(out, value)


def _join(inner: ir.Node, outer: ir.Node) -> bool:
    """Makes `outer` read what `inner` reads, when `outer` walks along axes of `inner` without a carry."""
    inner_dims, inner_steps = attr(inner, "dims"), attr(inner, "in_strides")
    dense = dense_strides(inner_dims)
    at = [int(item) for item in np.unravel_index(int(attr(outer, "offset")), inner_dims)]
    low, high = list(at), list(at)
    steps: list[int] = []
    for dim, step in zip(attr(outer, "dims"), attr(outer, "in_strides"), strict=True):
        walk = _walk(step, dense, inner_dims) if dim > 1 else []
        if walk is None:
            return False
        for axis, times in walk:
            far = times * (dim - 1)
            low[axis], high[axis] = low[axis] + min(far, 0), high[axis] + max(far, 0)
        steps.append(sum(times * inner_steps[axis] for axis, times in walk))
    if any(least < 0 or most >= dim for least, most, dim in zip(low, high, inner_dims, strict=True)):
        return False
    offset = int(attr(inner, "offset")) + sum(
        index * step for index, step in zip(at, inner_steps, strict=True)
    )
    outer.replace_input_with(0, inner.inputs[0])
    set_attribute(outer, "in_strides", steps)
    set_attribute(outer, "offset", offset)
    return True


def _walk(step: int, dense: Sequence[int], dims: Sequence[int]) -> list[tuple[int, int]] | None:
    """(axis, steps along it) of a step in row-major elements, when it is along one axis; [] for 0."""
    if step == 0:
        return []
    for axis, (stride, dim) in enumerate(zip(dense, dims, strict=True)):
        if dim > 1 and step % stride == 0 and abs(step // stride) < dim:
            return [(axis, step // stride)]
    return None


def _reshape(node: ir.Node) -> str | None:
    source, out = node.inputs[0], node.outputs[0]
    assert source is not None
    producer = source.producer()
    if producer is not None and producer.domain == DOMAIN and producer.op_type == "Reshape":
        node.replace_input_with(0, producer.inputs[0])
        return f"reads past {label(producer)}"
    if shape(source) != shape(out):
        return None
    return _bypass(node, source)


def _slice(node: ir.Node) -> str | None:
    source, out = node.inputs[0], node.outputs[0]
    assert source is not None
    if shape(source) == shape(out):
        return _bypass(node, source)
    producer = source.producer()
    if producer is None or producer.domain != DOMAIN or "steps" in node.attributes:
        return None
    starts = attr(node, "starts")
    if producer.op_type == "Slice" and "steps" not in producer.attributes:
        node.replace_input_with(0, producer.inputs[0])
        set_attribute(
            node,
            "starts",
            [own + before for own, before in zip(starts, attr(producer, "starts"), strict=True)],
        )
        return f"joined with {label(producer)}"
    return _slice_of_concat(node, producer) if producer.op_type == "Concat" else None


def _slice_of_concat(node: ir.Node, concat: ir.Node) -> str | None:
    """A slice that lies within one piece of a concat is a slice of the piece."""
    axis, starts, sizes = int(attr(concat, "axis")), attr(node, "starts"), attr(node, "sizes")
    begin = 0
    for piece in concat.inputs:
        assert piece is not None
        end = begin + shape(piece)[axis]
        if begin <= starts[axis] and starts[axis] + sizes[axis] <= end:
            node.replace_input_with(0, piece)
            set_attribute(node, "starts", [*starts[:axis], starts[axis] - begin, *starts[axis + 1 :]])
            return f"taken out of {label(concat)}"
        begin = end
    return None


def _concat(node: ir.Node) -> str | None:
    if len(node.inputs) == 1 and node.inputs[0] is not None:
        return _bypass(node, node.inputs[0])
    return None


def _bypass(node: ir.Node, source: ir.Value) -> str | None:
    """Readers of a node that changes nothing read its input; None where a port of the model is in the way."""
    out = node.outputs[0]
    if not out.uses() and not out.is_graph_output():
        return None
    if out.is_graph_output():
        if source.producer() is None or source.is_graph_output():
            return None
        take_over(out, source)
    else:
        out.replace_all_uses_with(source)
    return "changes nothing"


_RULES: dict[str, Callable[[ir.Node], str | None]] = {
    "Copy": _copy,
    "Reshape": _reshape,
    "Slice": _slice,
    "Concat": _concat,
}
