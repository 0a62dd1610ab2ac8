"""What an integer product lacks where its zero points are computed at run time.

With a = a' + da and b = b' + db, the sum of a b over k is that of a' b', and da sum(b') + db sum(a')
+ k da db.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import new_constant, static_shape

_S32 = ir.TensorType(ir.DataType.INT32)


def add_zero_points(
    node: ir.Node,
    raw: ir.Node,
    operands: Sequence[ir.Value],
    zeros: Sequence[int | ir.Value],
    shifts: Sequence[int],
) -> list[ir.Node]:
    """The nodes that make a MatMulInteger of `raw`, the last one its result.

    operands: a' [..,M,K] and b' [..,K,N], s8, each its u8 less 128 or its s8. zeros: of a (one, or one for
    each row) and b (one, or one for each column); a known one is in `raw` already. shifts: 128 for
    u8, 0 for s8.
    """
    build = _Builder(node)
    sides = [build.side(at, *given) for at, given in enumerate(zip(operands, zeros, shifts, strict=True))]
    (a_sum, a_lack), (b_sum, b_lack) = sides
    depth = build.constant("depth", (static_shape(operands[0]) or (1,))[-1])
    parts = [build.multiply(a_lack, b_sum), build.multiply(b_lack, a_sum)]
    parts.append(build.multiply(build.multiply(a_lack, b_lack), depth))
    total = raw.outputs[0]
    for part in parts:
        total = build.add("Add", [total, part], static_shape(node.outputs[0]) or ())
    return build.made


class _Builder:
    """Makes nodes of s32 values, not yet in the graph; their constants are."""

    def __init__(self, node: ir.Node) -> None:
        self.made: list[ir.Node] = []
        self._node = node

    def side(self, at: int, value: ir.Value, zero: int | ir.Value, shift: int) -> tuple[ir.Value, ir.Value]:
        """The sums of an operand's rows (a, at 0) or columns (b, at 1), and what each element lacks."""
        dims = static_shape(value) or ()
        along = len(dims) - 1 - at
        kept = [1 if axis == along else dim for axis, dim in enumerate(dims)]
        axes = self.constant("axis", [along], np.int64)
        total = self.add("ReduceSum", [self.widened(value), axes], kept)
        if isinstance(zero, int):  # its elements are meant as less it, so nothing is lacking
            less = self.constant("known", (shift - zero) * dims[along])
            return self.add("Add", [total, less], kept), self.constant("none", 0)
        number, own = self.widened(zero), static_shape(zero) or ()
        if at == 0 and len(own) == 1 and own[0] > 1:  # one for each row
            own = (own[0], 1)
            number = self.add("Reshape", [number, self.constant("rows", list(own), np.int64)], own)
        return total, self.add("Sub", [self.constant("shift", shift), number], own)

    def widened(self, value: ir.Value) -> ir.Value:
        """A value of bytes as s32."""
        return self.add("Cast", [value], static_shape(value) or (), to=int(ir.DataType.INT32))

    def multiply(self, left: ir.Value, right: ir.Value) -> ir.Value:
        """left * right, broadcast."""
        dims = np.broadcast_shapes(static_shape(left) or (), static_shape(right) or ())
        return self.add("Mul", [left, right], dims)

    def constant(self, what: str, data: int | list[int], kind: type = np.int32) -> ir.Value:
        """An initializer of the graph."""
        graph = self._node.graph
        assert isinstance(graph, ir.Graph)
        return new_constant(graph, f"{self._node.outputs[0].name}.{what}", np.asarray(data, kind))

    def add(self, op_type: str, inputs: list[ir.Value], dims: Sequence[int], **attributes: Any) -> ir.Value:
        """The result of a new node, of known dims."""
        name = f"{self._node.outputs[0].name}.zeros{len(self.made)}"
        out = ir.Value(name=name, shape=ir.Shape(dims), type=_S32)
        self.made.append(ir.node(op_type, inputs, attributes, outputs=[out], name=name))
        return out
