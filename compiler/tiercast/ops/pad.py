"""Pad: constant, reflect, edge or wrap padding of any axes; cropping (negative pads) is a Slice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.copy import constant_ints, optional_ints
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.registry import REQUIRED, Op, attr, dtype, shape, where
from tiercast.ops.slice import window


class Pad(Op):
    """y = x with `pads` (begin..., end..., all >= 0, physical axes) around it; any dtype, dense.

    mode: constant (with `value`) reflect edge wrap. reflect needs pads < the axis.
    """

    onnx = ("Pad",)
    inputs = ("x",)
    half = True
    attributes: ClassVar = {"pads": REQUIRED, "mode": "constant", "value": 0.0}

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """Keeps the input's order; negative pads crop first."""
        x, out = node.inputs[0], node.outputs[0]
        assert x is not None
        dims = layout.shape(x)
        begins, ends = _pads(node, layout, len(dims))
        perm = layout.perm(x)
        source = layout.as_perm(x, perm)
        if min(begins + ends) < 0:
            starts = [max(-pad, 0) for pad in begins]
            sizes = [
                dim + min(before, 0) + min(after, 0)
                for dim, before, after in zip(dims, begins, ends, strict=True)
            ]
            source = window(layout, x, perm, starts, sizes)
        if max(begins + ends) > 0:
            pads = [max(begins[axis], 0) for axis in perm] + [max(ends[axis], 0) for axis in perm]
            attributes = {"pads": pads, "mode": attr(node, "mode", "constant"), "value": _value(node, layout)}
            source = layout.emit("Pad", [source], attributes)[0]
        layout.bind(out, source, perm)

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """x's dims plus both pads."""
        (x,) = node.inputs
        assert x is not None
        dims, pads = shape(x), attr(node, "pads")
        rank = len(dims)
        if len(pads) != 2 * rank or min(pads, default=0) < 0 or rank > 8:
            raise GraphError(f"{where(node)}: pads {pads} are not {2 * rank} numbers >= 0 for {dims}")
        if attr(node, "mode") == "reflect" and any(
            max(pads[at], pads[at + rank]) >= dim for at, dim in enumerate(dims)
        ):
            raise GraphError(f"{where(node)}: reflect pads {pads} must be smaller than the axes {dims}")
        return [(dtype(x), tuple(dim + pads[at] + pads[at + rank] for at, dim in enumerate(dims)))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One `pad` call."""
        (x,) = node.inputs
        assert x is not None
        params = {
            "begins": attr(node, "pads")[: len(shape(x))],
            "mode": attr(node, "mode"),
            "value": element_bits(dtype(x), float(attr(node, "value"))),
        }
        low.call(node, low.choose("pad_anyany"), [x], list(node.outputs), params)


def element_bits(kind: ir.DataType, value: float) -> list[int]:
    """One element of a dtype as two little-endian 32-bit words (unused bytes 0)."""
    raw = np.asarray(value).astype(kind.numpy()).tobytes()
    return [int(word) for word in np.frombuffer(raw.ljust(8, b"\0"), np.int32)]


def _pads(node: ir.Node, layout: Layouter, rank: int) -> tuple[list[int], list[int]]:
    given = constant_ints(node, layout, 1, "pads")
    axes: Sequence[int] = optional_ints(node, layout, 3, "axes") or range(rank)
    begins, ends = [0] * rank, [0] * rank
    for at, axis in enumerate(axes):
        begins[axis], ends[axis] = given[at], given[at + len(given) // 2]
    return begins, ends


def _value(node: ir.Node, layout: Layouter) -> float:
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if value is None:
        return 0.0
    array = layout.const(value)
    if array is None:
        raise GraphError(f"{where(node)}: constant_value is not a constant")
    return float(array.reshape(-1)[0]) if array.size else 0.0
