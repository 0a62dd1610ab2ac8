"""QuantizedPool2d: max and average pooling of s8 images; a mean over both axes is a window over all."""

from __future__ import annotations

from typing import Any, ClassVar

import onnx_ir as ir

from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.pool2d import pooled_length, window_attributes
from tiercast.ops.quantized import HIGH, LOW, check_image, check_zero, limits
from tiercast.ops.registry import REQUIRED, Op, attr, shape


class QuantizedPool2d(Op):
    """y[N,OH,OW,C] = max, or requantized average, over windows of x s8 [N,H,W,C].

    Averages are (sum of x - x_zero) * scale / count + y_zero, halves to even, within low..high; scale is x's
    over y's. rounding away or up: (sum of x - x_zero) / count itself is rounded, halves away from zero or up;
    the scale is 1. rounding biased: f32(sum of x * s) + f32(y_zero - f32(count * x_zero * s)), where s is
    f32(scale * f32(1 / count)); biased_u8: the same of the u8 that x and y hold xor 0x80. Other attributes as
    in Pool2d.
    """

    onnx = ("QuantizedAveragePool",)
    inputs = ("x",)
    attributes: ClassVar = {
        "kind": REQUIRED,
        "kernel": REQUIRED,
        "strides": [1, 1],
        "pads": [0, 0, 0, 0],
        "dilations": [1, 1],
        "count_include_pad": 0,
        "ceil_mode": 0,
        "scale": 1.0,
        "x_zero": 0,
        "y_zero": 0,
        "low": LOW,
        "high": HIGH,
        "rounding": "even",
    }
    strided_inputs = True
    strided_outputs = True

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """An average; kernel_shape [] is the whole image."""
        x = node.inputs[0]
        assert x is not None
        image = layout.channels_last(x)
        attributes: dict[str, Any] = {
            name: attr(node, name, self.attributes[name])
            for name in ("scale", "x_zero", "y_zero", "low", "high", "rounding")
        }
        if attr(node, "kernel_shape"):
            attributes |= window_attributes(node, layout.shape(x)[2:])
        else:
            attributes["kernel"] = list(layout.shape(x)[2:])
        made = layout.emit("QuantizedPool2d", [image], {"kind": "average", **attributes})[0]
        layout.bind(node.outputs[0], made, (0, 2, 3, 1))

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """[N, OH, OW, C]."""
        dims = shape(check_image(node))
        return [
            (
                ir.DataType.INT8,
                (dims[0], pooled_length(node, 0, dims[1]), pooled_length(node, 1, dims[2]), dims[3]),
            )
        ]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One call."""
        names = ("kind", "kernel", "strides", "pads", "dilations", "count_include_pad", "scale", "rounding")
        params = {name: attr(node, name) for name in names}
        params |= {"x_zero": check_zero(node, int(attr(node, "x_zero"))), **limits(node)}
        low.call(node, low.choose("quantized_pool2d_s8s8"), list(node.inputs), list(node.outputs), params)
