"""WidenWeights: weights that a package keeps as s8 become the f32 operand of a kernel."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.lowering import Lowering
from tiercast.ops.panels import Panels
from tiercast.ops.registry import Op, attr, dtype, shape, where


class WidenWeights(Op):
    """y = x * scales, f32: x s8 [B,K,N], scales f32 [B,N]; each matrix in panels (`ops/panels.py`), flat.

    panel 0 (with granule 1): y has x's order and shape. No ONNX node becomes it: `lower` prepares with it.
    """

    inputs = ("x", "scales")
    attributes: ClassVar = {"panel": 0, "granule": 1}

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """[B,K,N], or flat where it is packed."""
        x, scales = node.inputs
        assert x is not None and scales is not None
        dims = shape(x)
        wanted = (ir.DataType.INT8, ir.DataType.FLOAT)
        if (dtype(x), dtype(scales)) != wanted or len(dims) != 3 or shape(scales) != (dims[0], dims[2]):
            raise GraphError(
                f"{where(node)}: needs s8 [B,K,N] and f32 [B,N], got {dtype(x)} {dims} and "
                f"{dtype(scales)} {shape(scales)}"
            )
        panel, granule = attr(node, "panel"), attr(node, "granule")
        if not panel:
            return [(ir.DataType.FLOAT, dims)]
        padded = Panels(panel, granule).padded(dims[2])
        return [(ir.DataType.FLOAT, (dims[0] * dims[1] * padded,))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One `widen_weights` call."""
        params = {name: attr(node, name) for name in self.attributes}
        low.call(node, low.choose("widen_weights_s8f32"), list(node.inputs), list(node.outputs), params)
