"""QuantizedResize2d: bilinear resampling of s8 images in integers."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.quantized import HIGH, LOW, check_image, check_zero, limits
from tiercast.ops.registry import REQUIRED, Op, attr, shape, where
from tiercast.ops.resize2d import resized_image, table

_ONE = 2048  # QRS_ONE of the kernels: weights are whole 2048ths


class QuantizedResize2d(Op):
    """y [N,OH,OW,C] = (x - x_zero, resampled) * scale + y_zero, halves to even, within low..high.

    x s8 [N,H,W,C]. scale: x's over y's. Weights are rounded to 2048ths (exact where images grow by 2, 4, 8),
    sums are exact. Other attributes as in Resize2d; mode is linear.
    """

    onnx = ("QuantizedResize",)
    inputs = ("x",)
    attributes: ClassVar = {
        "out": REQUIRED,
        "scales": REQUIRED,
        "mode": "linear",
        "coordinate": "half_pixel",
        "nearest_mode": "round_prefer_floor",
        "cubic_a": -0.75,
        "exclude_outside": 0,
        "roi": [0.0, 0.0, 1.0, 1.0],
        "scale": 1.0,
        "x_zero": 0,
        "y_zero": 0,
        "low": LOW,
        "high": HIGH,
    }
    strided_inputs = True
    strided_outputs = True

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """As a Resize, with its scale, zero points and limits."""
        image = resized_image(node, layout)
        names = ("scale", "x_zero", "y_zero", "low", "high")
        kept = {name: attr(node, name, self.attributes[name]) for name in names}
        made = layout.emit("QuantizedResize2d", [image.pixels], {**image.attributes, **kept})[0]
        layout.bind(node.outputs[0], layout.alias(made, image.dims), image.perm)

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """[N, OH, OW, C]; GraphError for other modes."""
        dims = shape(check_image(node))
        if attr(node, "mode") != "linear":
            raise GraphError(f"{where(node)}: mode {attr(node, 'mode')!r} is not linear")
        rows, cols = attr(node, "out")
        return [(ir.DataType.INT8, (dims[0], int(rows), int(cols), dims[3]))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One call with its four tables."""
        x, y = node.inputs[0], node.outputs[0]
        assert x is not None
        operands = []
        for axis in (0, 1):
            positions, weights = table(node, axis, shape(x)[1 + axis])
            second = np.rint(weights[:, 1] * _ONE).astype(np.int32)
            operands += [positions, np.stack([_ONE - second, second], 1)]
        params = {
            "x_zero": check_zero(node, int(attr(node, "x_zero"))),
            "scale": float(np.float32(attr(node, "scale")) / np.float32(_ONE * _ONE)),
            **limits(node),
        }
        tables = [low.const(array, "resize table", exact=True) for array in operands]
        row = low.choose("quantized_resize2d_s8s8")
        low.call(node, row, [x, *tables], [y], params, 4 * shape(x)[2] * shape(x)[3])
