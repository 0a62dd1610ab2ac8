"""Small vision models as .tflite files, float or int8: what the bodies and heads of real ones are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tflite

from tests.frontend.tflite_writer import Graph, write

SAME = tflite.Padding.SAME
ACT = tflite.ActivationFunctionType
SCALE = 0.03


class Net:
    """Adds layers to a graph. Values are (tensor, dims); int8 ones all have the same scale."""

    def __init__(self, int8: bool) -> None:
        self.graph, self.int8 = Graph(), int8
        self.random = np.random.default_rng(0)

    def input(self, *dims: int) -> tuple[int, tuple[int, ...]]:
        return self.graph.input("image", dims, **self._stored()), dims

    def conv(self, x: Any, channels: int, kernel: int = 1, stride: int = 1, act: int = ACT.RELU6) -> Any:
        index, (batch, rows, cols, depth) = x
        dims = (batch, -(-rows // stride), -(-cols // stride), channels)
        operands = [index, *self._weights((channels, kernel, kernel, depth), 0)]
        return self._add(
            "CONV_2D", operands, dims, "Conv2DOptions",
            StrideH=stride, StrideW=stride, Padding=SAME, FusedActivationFunction=act,
        )  # fmt: skip

    def depthwise(self, x: Any, stride: int = 1) -> Any:
        index, (batch, rows, cols, depth) = x
        dims = (batch, -(-rows // stride), -(-cols // stride), depth)
        operands = [index, *self._weights((1, 3, 3, depth), 3)]
        return self._add(
            "DEPTHWISE_CONV_2D", operands, dims, "DepthwiseConv2DOptions", StrideH=stride, StrideW=stride,
            Padding=SAME, DepthMultiplier=1, FusedActivationFunction=ACT.RELU6,
        )  # fmt: skip

    def up(self, x: Any, bilinear: bool = True) -> Any:
        index, (batch, rows, cols, depth) = x
        kind, table = (
            ("RESIZE_BILINEAR", "ResizeBilinearOptions")
            if bilinear
            else ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions")
        )
        size = self.ints(2 * rows, 2 * cols)
        return self._add(
            kind, [index, size], (batch, 2 * rows, 2 * cols, depth), table, HalfPixelCenters=True
        )

    def add(self, x: Any, y: Any) -> Any:
        return self._add("ADD", [x[0], y[0]], x[1], "AddOptions")

    def multiply(self, x: Any, y: Any) -> Any:
        return self._add("MUL", [x[0], y[0]], x[1], "MulOptions")

    def join(self, pieces: list[Any], axis: int) -> Any:
        dims = list(pieces[0][1])
        dims[axis] = sum(piece[1][axis] for piece in pieces)
        return self._add(
            "CONCATENATION", [piece[0] for piece in pieces], tuple(dims), "ConcatenationOptions", Axis=axis
        )

    def mean(self, x: Any, keep: bool = True) -> Any:
        index, (batch, _, _, depth) = x
        dims = (batch, 1, 1, depth) if keep else (batch, depth)
        return self._add("MEAN", [index, self.ints(1, 2)], dims, "ReducerOptions", KeepDims=keep)

    def pool(self, x: Any) -> Any:
        index, (batch, rows, cols, depth) = x
        return self._add(
            "MAX_POOL_2D", [index], (batch, rows // 2, cols // 2, depth), "Pool2DOptions",
            StrideH=2, StrideW=2, FilterHeight=2, FilterWidth=2, Padding=SAME,
        )  # fmt: skip

    def reshape(self, x: Any, *dims: int) -> Any:
        return self._add("RESHAPE", [x[0], self.ints(*dims)], dims, "ReshapeOptions", NewShape=list(dims))

    def dense(self, x: Any, columns: int) -> Any:
        index, (rows, features) = x
        operands = [index, *self._weights((columns, features), None)]
        return self._add("FULLY_CONNECTED", operands, (rows, columns), "FullyConnectedOptions")

    def unary(self, kind: str, x: Any, table: str = "", **options: Any) -> Any:
        return self._add(kind, [x[0]], x[1], table, **options)

    def end(self, *values: Any) -> bytes:
        self.graph.outputs = [index for index, _ in values]
        return write(self.graph)

    def ints(self, *numbers: int) -> int:
        return self.graph.constant(np.array(numbers, np.int32))

    def _stored(self) -> dict[str, Any]:
        return {"kind": "INT8", "scales": [SCALE], "zeros": [-3]} if self.int8 else {}

    def _add(self, kind: str, inputs: list[int], dims: tuple[int, ...], table: str, **options: Any) -> Any:
        out = self.graph.tensor(f"{kind.lower()}{len(self.graph.operators)}", dims, **self._stored())
        self.graph.op(kind, inputs, [out], table, **options)
        return out, dims

    def _weights(self, dims: tuple[int, ...], axis: int | None) -> list[int]:
        count = dims[-1] if axis == 3 else dims[0]
        fan = int(np.prod(dims)) // count
        real = self.random.standard_normal(dims) * np.sqrt(2 / fan)
        bias = self.random.standard_normal(count) * 0.1
        if not self.int8:
            return [
                self.graph.constant(real.astype(np.float32)),
                self.graph.constant(bias.astype(np.float32)),
            ]
        others = None if axis is None else tuple(at for at in range(4) if at != axis)
        scales = np.atleast_1d(np.abs(real).max(axis=others) / 127)
        along = scales if axis is None else scales.reshape([-1 if at == axis else 1 for at in range(4)])
        whole = np.clip(np.rint(real / along), -127, 127).astype(np.int8)
        both = np.rint(bias / (scales * SCALE)).astype(np.int32)
        return [
            self.graph.constant(whole, scales=scales, axis=axis or 0),
            self.graph.constant(both, scales=scales * SCALE),
        ]


def mobilenet(int8: bool) -> bytes:
    """Inverted residuals, a global average, a classifier."""
    net = Net(int8)
    x = net.conv(net.input(1, 32, 32, 3), 8, 3, 2)
    for stride in (1, 2):
        y = net.conv(net.depthwise(net.conv(x, 24), stride), 8, act=ACT.NONE)
        x = net.add(x, y) if stride == 1 else y
    return net.end(net.dense(net.mean(x, keep=False), 10))


def squeeze(int8: bool) -> bytes:
    """Hard swish, squeeze and excitation by 1x1 convolutions on the pooled image."""
    net = Net(int8)
    x = net.unary("HARD_SWISH", net.conv(net.input(1, 16, 16, 3), 16, 3, 2, ACT.NONE))
    for _ in range(2):
        y = net.depthwise(x)
        gate = net.unary("LOGISTIC", net.conv(net.conv(net.mean(y), 4), 16, act=ACT.NONE))
        x = net.conv(net.multiply(y, gate), 16, act=ACT.NONE)
    return net.end(net.dense(net.reshape(net.mean(x), 1, 16), 10))


def unet(int8: bool) -> bytes:
    """Skips that are joined along channels, both ways up."""
    net = Net(int8)
    first = net.conv(net.input(1, 16, 16, 3), 8, 3)
    second = net.conv(net.pool(first), 12, 3)
    x = net.conv(net.pool(second), 16, 3)
    x = net.conv(net.join([net.up(x), second], 3), 12, 3)
    x = net.conv(net.join([net.up(x, bilinear=False), first], 3), 8, 3)
    return net.end(net.conv(x, 2, act=ACT.NONE))


def detector(int8: bool) -> bytes:
    """Boxes and scores of two levels, each reshaped to a list and joined."""
    net = Net(int8)
    levels = [net.conv(net.input(1, 16, 16, 3), 16, 3, 2)]
    levels.append(net.conv(net.depthwise(levels[0], 2), 24))
    boxes = [net.reshape(net.conv(x, 8, act=ACT.NONE), 1, 2 * x[1][1] * x[1][2], 4) for x in levels]
    scores = [net.reshape(net.conv(x, 6, act=ACT.NONE), 1, 2 * x[1][1] * x[1][2], 3) for x in levels]
    return net.end(net.join(boxes, 1), net.unary("LOGISTIC", net.join(scores, 1)))


def segmenter(int8: bool) -> bytes:
    """Class scores per pixel, as a softmax and as the best class."""
    net = Net(int8)
    x = net.up(net.conv(net.conv(net.input(1, 16, 16, 3), 16, 3, 2), 5, act=ACT.NONE), bilinear=False)
    best = net.graph.tensor("best", (1, 16, 16), "INT32")
    net.graph.op("ARG_MAX", [x[0], net.ints(3)], [best], "ArgMaxOptions", OutputType=tflite.TensorType.INT32)
    likely = net.unary("SOFTMAX", x, "SoftmaxOptions", Beta=1.0)
    if int8:  # the only scale that TFLite's softmax may have
        net.graph.tensors[likely[0]] |= {"scales": [1 / 256], "zeros": [-128]}
    return net.end(likely, (best, (1, 16, 16)))


MODELS: dict[str, Callable[[bool], bytes]] = {
    item.__name__: item for item in (mobilenet, squeeze, unet, detector, segmenter)
}
