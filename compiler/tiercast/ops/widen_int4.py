"""WidenInt4: weights that a package keeps in 4 bits become the f32 operand of a kernel."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.lowering import Lowering
from tiercast.ops.panels import Panels
from tiercast.ops.registry import REQUIRED, Op, attr, dtype, shape, where

_SCALES = (ir.DataType.FLOAT16, ir.DataType.FLOAT)


class WidenInt4(Op):
    """y[b, k, n] = x * (scales[b, k / group, n] * unit), f32; each matrix in panels (`ops/panels.py`), flat.

    x: u8 [B,K,ceil(N/2)], two's complement values of 4 bits, the column of even number in the low ones.
    scales: f16 or f32 [B,ceil(K/group),N]. panel 0 (with granule 1): y is [B,K,N]. No ONNX node becomes it:
    `lower` prepares with it.
    """

    inputs = ("x", "scales")
    attributes: ClassVar = {"panel": 0, "granule": 1, "group": REQUIRED, "unit": 1.0}

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """[B,K,N], or flat where it is packed."""
        x, scales = node.inputs
        assert x is not None and scales is not None
        group, dims, scale_dims = attr(node, "group"), shape(x), shape(scales)
        fits = dtype(x) == ir.DataType.UINT8 and dtype(scales) in _SCALES and len(dims) == 3 and group >= 1
        if (
            not fits
            or scale_dims[:-1] != (dims[0], -(-dims[1] // group))
            or dims[2] != -(-scale_dims[-1] // 2)
        ):
            raise GraphError(
                f"{where(node)}: needs u8 [B,K,N/2] and f16 or f32 [B,K/group,N], got {dtype(x)} {dims} and "
                f"{dtype(scales)} {scale_dims} in groups of {group}"
            )
        batch, rows, columns = dims[0], dims[1], scale_dims[-1]
        panel, granule = attr(node, "panel"), attr(node, "granule")
        if not panel:
            return [(ir.DataType.FLOAT, (batch, rows, columns))]
        return [(ir.DataType.FLOAT, (batch * rows * Panels(panel, granule).padded(columns),))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One `widen_int4` call."""
        params = {name: attr(node, name, default) for name, default in self.attributes.items()}
        low.call(node, low.choose("widen_int4_u8f32"), list(node.inputs), list(node.outputs), params)
