"""Pixels repeated by reshape, tile and reshape are a nearest-neighbour enlargement."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import (
    erase,
    insert_before,
    new_constant,
    only_user,
    remove_dead,
    static_shape,
    take_over,
)
from tiercast.ir.report import PassReport

_VIEWS = ("Reshape", "Unsqueeze", "Squeeze")
_RANKS = (3, 4)  # that a Resize may have
_MODE = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


def fuse_repeat(model: ir.Model) -> PassReport:
    """Tile or Expand of unit axes, merged by a Reshape with the axes before them, becomes Resize, in place.

    That is how Keras writes UpSampling2D, one axis after the other; the second joins the first's Resize.
    """
    report = PassReport("fuse_repeat")
    for node in list(model.graph):
        if node.domain or node.op_type not in ("Tile", "Expand"):
            continue
        merge = only_user(node.outputs[0])
        found = _pixels(node, merge)
        if merge is None or found is None:
            continue
        dims, scales = found
        if len(scales) not in _RANKS:
            report.refuse(node, f"a value of {len(scales)} axes is no image")
            continue
        source = _source(node, dims)
        before = source.producer()
        if before is not None and _is_ours(before) and _same_rank(before, dims) and _alone(source, node):
            scales = [scale * own for scale, own in zip(scales, _read_scales(before), strict=True)]
            source, dims = _input(before), list(static_shape(before.inputs[0]) or ())
        _replace(model.graph, merge, source, dims, scales)
        report.apply(node, f"pixels stand {'x'.join(map(str, scales))} times")
    remove_dead(model.graph)
    return report


def _pixels(node: ir.Node, merge: ir.Node | None) -> tuple[list[int], list[int]] | None:
    """Dims of the image before the repetition and how often each axis' elements stand in a row; None for any
    other pattern.
    """
    before, after = static_shape(node.inputs[0]), static_shape(node.outputs[0])
    if merge is None or merge.op_type != "Reshape" or before is None or after is None:
        return None
    before = (1,) * (len(after) - len(before)) + before
    dims: list[int] = []
    scales: list[int] = []
    for old, new in zip(before, after, strict=True):
        if old == new:
            dims.append(new)
            scales.append(1)
        elif old == 1 and dims:
            scales[-1] *= new
        else:
            return None
    enlarged = [dim * scale for dim, scale in zip(dims, scales, strict=True)]
    whole = [dim for dim in _dims(merge) if dim != 1] == [dim for dim in enlarged if dim != 1]
    return (dims, scales) if whole and max(scales, default=1) > 1 else None


def _source(node: ir.Node, dims: list[int]) -> ir.Value:
    """What the node reads, without the views that gave it its unit axes where one before has the `dims`."""
    first = value = _input(node)
    while static_shape(value) != tuple(dims):
        producer = value.producer()
        if producer is None or producer.domain or producer.op_type not in _VIEWS:
            return first
        value = _input(producer)
    return value


def _alone(value: ir.Value, node: ir.Node) -> bool:
    """Whether nothing but `node` reads the value, through views."""
    reader = only_user(value)
    while reader is not None and reader is not node and reader.op_type in _VIEWS:
        reader = only_user(reader.outputs[0])
    return reader is node


def _is_ours(node: ir.Node) -> bool:
    modes = {key: node.attributes[key].as_string() for key in _MODE if key in node.attributes}
    return node.op_type == "Resize" and modes == _MODE and "axes" not in node.attributes


def _read_scales(resize: ir.Node) -> list[int]:
    before, after = static_shape(_input(resize)), _dims(resize)
    return [new // old for old, new in zip(before or after, after, strict=True)]


def _same_rank(node: ir.Node, dims: list[int]) -> bool:
    return len(_dims(node)) == len(dims)


def _replace(graph: ir.Graph, merge: ir.Node, source: ir.Value, dims: list[int], scales: list[int]) -> None:
    out, stem = merge.outputs[0], merge.outputs[0].name
    made: list[ir.Node] = []
    if static_shape(source) != tuple(dims):
        made.append(_reshape(graph, source, dims, f"{stem}.pixels"))
        source = made[-1].outputs[0]
    factors = new_constant(graph, f"{stem}.scales", np.array(scales, np.float32))
    enlarged = [dim * scale for dim, scale in zip(dims, scales, strict=True)]
    value = ir.Value(name=f"{stem}.enlarged", shape=ir.Shape(enlarged), type=out.type)
    made.append(ir.node("Resize", [source, None, factors], dict(_MODE), outputs=[value], name=value.name))
    if tuple(enlarged) != _dims(merge):
        made.append(_reshape(graph, value, _dims(merge), f"{stem}.merged"))
    insert_before(merge, made)
    take_over(out, made[-1].outputs[0])
    erase(graph, [merge])


def _reshape(graph: ir.Graph, source: ir.Value, dims: Sequence[int], name: str) -> ir.Node:
    wanted = new_constant(graph, f"{name}.dims", np.array(dims, np.int64))
    value = ir.Value(name=name, shape=ir.Shape(dims), type=source.type)
    return ir.node("Reshape", [source, wanted], outputs=[value], name=name)


def _input(node: ir.Node) -> ir.Value:
    value = node.inputs[0]
    assert value is not None
    return value


def _dims(node: ir.Node) -> tuple[int, ...]:
    dims = static_shape(node.outputs[0])
    assert dims is not None
    return dims
