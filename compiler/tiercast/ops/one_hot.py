"""OneHot: indices as vectors of one value among others."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.copy import constant_ints
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.pad import element_bits
from tiercast.ops.registry import REQUIRED, Op, attr, shape, where


class OneHot(Op):
    """y = `on` where position along `axis` (of y) equals the index, else `off`; indices s32 or s64, dtype
    `to`.

    Negative indices count from `depth`; one out of range sets nothing.
    """

    onnx = ("OneHot", "Hardmax")
    inputs = ("indices",)
    attributes: ClassVar = {
        "axis": REQUIRED,
        "depth": REQUIRED,
        "off": 0.0,
        "on": 1.0,
        "to": int(ir.DataType.FLOAT),
    }

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """In logical order; depth and values must be constants. Hardmax marks the first maximum."""
        if node.op_type == "Hardmax":
            _legalize_hardmax(node, layout)
            return
        indices, _, values = node.inputs
        assert indices is not None and values is not None
        (depth,) = constant_ints(node, layout, 1, "depth")
        pair = layout.const(values)
        if pair is None:
            raise GraphError(f"{where(node)}: values is not a constant")
        source = layout.plain(indices)
        if layout.dtype(indices) not in (ir.DataType.INT32, ir.DataType.INT64):
            source = layout.emit("Cast", [source], {"to": int(ir.DataType.INT64)})[0]
        attributes = {
            "axis": int(attr(node, "axis", -1)) % (len(layout.shape(indices)) + 1),
            "depth": depth,
            "off": float(pair[0]),
            "on": float(pair[1]),
            "to": int(layout.dtype(values)),
        }
        layout.bind(node.outputs[0], layout.emit("OneHot", [source], attributes)[0])

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """The indices' dims with `depth` inserted at the axis."""
        (indices,) = node.inputs
        assert indices is not None
        axis = int(attr(node, "axis"))
        dims = (*shape(indices)[:axis], int(attr(node, "depth")), *shape(indices)[axis:])
        return [(ir.DataType(int(attr(node, "to"))), dims)]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One `one_hot` call."""
        kind = ir.DataType(int(attr(node, "to")))
        off, on = (element_bits(kind, float(attr(node, name))) for name in ("off", "on"))
        params = {"axis": int(attr(node, "axis")), "off": off, "on": on}
        low.call(node, low.choose("one_hot_anyany"), list(node.inputs), list(node.outputs), params)


def _legalize_hardmax(node: ir.Node, layout: Layouter) -> None:
    (x,) = node.inputs
    assert x is not None
    dims = layout.shape(x)
    axis = int(attr(node, "axis", -1)) % len(dims)
    found = {"kind": "max", "axis": axis, "keepdims": 0}
    at = layout.emit("ArgReduce", [layout.plain(x)], found)[0]
    attributes = {"axis": axis, "depth": dims[axis], "to": int(layout.dtype(x))}
    layout.bind(node.outputs[0], layout.emit("OneHot", [at], attributes)[0])
