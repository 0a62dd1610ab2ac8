"""Softmax and LogSoftmax along one axis of whatever memory order the input has."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.registry import REALS, REQUIRED, Op, attr, dtype, real_row, shape, where

_SCRATCH_BYTES = 16 * 64 * 4  # scratch_need of kernels/softmax/softmax.h


class Softmax(Op):
    """y = e^(x - max) / Σ e^(x - max) along physical `axis`, or with log=1 its logarithm; dense f32, shape
    of x."""

    onnx = ("Softmax", "LogSoftmax")
    inputs = ("x",)
    half = True
    attributes: ClassVar = {"axis": REQUIRED, "log": 0}
    in_place = True

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """Keeps the input's order."""
        (x,) = node.inputs
        assert x is not None
        perm = layout.perm(x)
        axis = int(attr(node, "axis", -1)) % len(perm)
        attributes = {"axis": perm.index(axis), "log": int(node.op_type == "LogSoftmax")}
        layout.bind(node.outputs[0], layout.emit("Softmax", [layout.as_perm(x, perm)], attributes)[0], perm)

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """Shape of x."""
        (x,) = node.inputs
        assert x is not None
        if not 0 <= int(attr(node, "axis")) < len(shape(x)) or dtype(x) not in REALS:
            raise GraphError(
                f"{where(node)}: needs f32 with an axis {attr(node, 'axis')}, got {dtype(x)} {shape(x)}"
            )
        return [(dtype(x), shape(x))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One `softmax` call."""
        params = {"axis": int(attr(node, "axis")), "log": int(attr(node, "log"))}
        low.call(
            node,
            low.choose(real_row("softmax", node.outputs[0])),
            list(node.inputs),
            list(node.outputs),
            params,
            _SCRATCH_BYTES,
        )
