"""Cast: conversions between the dtypes the runtime holds."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ir.dtypes import NAMES
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.registry import REQUIRED, Op, attr, dtype, shape, where


class Cast(Op):
    """y = x as dtype `to` (a number of onnx.TensorProto.DataType), dense, shape of x.

    Float to integer drops the fraction and saturates (NaN: 0), to bool is x != 0; integers narrow by
    keeping low bits.
    """

    onnx = ("Cast", "CastLike")
    inputs = ("x",)
    attributes: ClassVar = {"to": REQUIRED}

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """Keeps the input's order; a cast to the same dtype is free."""
        x, out = node.inputs[0], node.outputs[0]
        assert x is not None
        perm = layout.perm(x)
        source = layout.as_perm(x, perm)
        target = ir.DataType(attr(node, "to")) if node.op_type == "Cast" else layout.dtype(_like(node))
        same = target == layout.dtype(x)
        layout.bind(out, source if same else layout.emit("Cast", [source], {"to": int(target)})[0], perm)

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """Shape of x."""
        (x,) = node.inputs
        assert x is not None
        target = ir.DataType(int(attr(node, "to")))
        unknown = [str(kind) for kind in (dtype(x), target) if kind not in NAMES]
        if unknown:
            raise GraphError(f"{where(node)}: the runtime holds no {', '.join(unknown)}")
        return [(target, shape(x))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One `cast` call."""
        low.call(node, low.choose("cast_anyany"), list(node.inputs), list(node.outputs), {})


def _like(node: ir.Node) -> ir.Value:
    like = node.inputs[1]
    assert like is not None
    return like
