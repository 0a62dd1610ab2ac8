"""Cast: element type conversion."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.registry import REQUIRED, Op, attr, dtype, shape, where

_HELD = frozenset(
    {
        ir.DataType.FLOAT,
        ir.DataType.FLOAT16,
        ir.DataType.INT8,
        ir.DataType.UINT8,
        ir.DataType.INT32,
        ir.DataType.INT64,
        ir.DataType.BOOL,
    }
)


class Cast(Op):
    """y = x as element type `to` (an ONNX DataType number) among f32 f16 s8 u8 s32 s64 bool.

    Float to integer truncates toward zero and saturates, NaN becomes 0; integer to a narrower integer wraps.
    """

    onnx = ("Cast", "CastLike")
    inputs = ("x",)
    attributes: ClassVar = {"to": REQUIRED}
    strided_inputs = True
    strided_outputs = True

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """Keeps the input's order."""
        x = node.inputs[0]
        assert x is not None
        perm = layout.perm(x)
        to = int(attr(node, "to")) if node.op_type == "Cast" else int(dtype(_like(node)))
        made = layout.as_perm(x, perm)
        if int(dtype(x)) != to:
            made = layout.emit("Cast", [made], {"to": to})[0]
        layout.bind(node.outputs[0], made, perm)

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """x's shape as `to`; both types must be ones the runtime holds."""
        (x,) = node.inputs
        assert x is not None
        to = ir.DataType(int(attr(node, "to")))
        for kind in (dtype(x), to):
            if kind not in _HELD:
                held = ", ".join(sorted(one.name for one in _HELD))
                raise GraphError(f"{where(node)}: element type {kind.name} is not held by the runtime; it holds {held}")
        return [(to, shape(x))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One `cast` call."""
        low.call(node, low.choose("cast_anyany"), list(node.inputs), list(node.outputs), {})


def _like(node: ir.Node) -> ir.Value:
    target = node.inputs[1]
    assert target is not None
    return target
