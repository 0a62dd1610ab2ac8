"""Small float models to quantize, built operator by operator with seeded weights, and samples for them."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper


class Net:
    """Appends operators to a graph with the f32 inputs given; values are names."""

    def __init__(self, seed: int = 0, **inputs: tuple[int, ...]) -> None:
        self.random = np.random.default_rng(seed)
        self.inputs = inputs
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def const(self, data: object) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(data), name))
        return name

    def op(self, op_type: str, *inputs: str, name: str = "", **attributes: object) -> str:
        out = name or f"{op_type.lower()}{len(self._nodes)}"
        self._nodes.append(helper.make_node(op_type, list(inputs), [out], out, **attributes))
        return out

    def weight(self, *dims: int) -> np.ndarray:
        """Weights that keep a value's variance."""
        fan = max(1, int(np.prod(dims[1:])))
        return (self.random.standard_normal(dims) * (2 / fan) ** 0.5).astype(np.float32)

    def conv(
        self, x: str, inputs: int, outputs: int, kernel: int = 3, *, name: str = "", group: int = 1
    ) -> str:
        """A convolution with bias that keeps the size."""
        weight = self.const(self.weight(outputs, inputs // group, kernel, kernel))
        bias = self.const((self.random.standard_normal(outputs) * 0.1).astype(np.float32))
        return self.op("Conv", x, weight, bias, name=name, pads=[kernel // 2] * 4, group=group)

    def model(self, *outputs: str) -> onnx.ModelProto:
        ports = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, d) for n, d in self.inputs.items()]
        ends = [helper.make_empty_tensor_value_info(name) for name in outputs]
        graph = helper.make_graph(self._nodes, "net", ports, ends, self._constants)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        return onnx.shape_inference.infer_shapes(made)

    def samples(self, count: int = 4, seed: int = 5) -> list[dict[str, np.ndarray]]:
        random = np.random.default_rng(seed)
        return [
            {name: random.standard_normal(dims).astype(np.float32) for name, dims in self.inputs.items()}
            for _ in range(count)
        ]


def block_net() -> tuple[Net, onnx.ModelProto]:
    """What mobile nets are made of: depthwise, hard-swish, squeeze and excitation, residual, pool, concat,
    pad."""
    net = Net(image=(1, 3, 16, 16))
    x = net.op("Relu", net.conv("image", 3, 8, name="stem"))
    y = net.op("HardSwish", net.conv(x, 8, 8, group=8, name="depthwise"))
    pooled = net.op("GlobalAveragePool", y)
    gate = net.op("Sigmoid", net.conv(pooled, 8, 8, 1, name="squeeze"))
    y = net.conv(net.op("Mul", y, gate), 8, 8, 1, name="project")
    x = net.op("Relu", net.op("Add", x, y, name="residual"))
    small = net.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    side = net.op("Tanh", net.conv(small, 8, 4, 1, name="side"))
    joined = net.op("Concat", small, side, axis=1)
    padded = net.op("Pad", joined, net.const(np.array([0, 0, 0, 1, 0, 0, 0, 1], np.int64)))
    return net, net.model(net.conv(padded, 12, 2, name="head"))


def outlier_net() -> tuple[Net, onnx.ModelProto]:
    """Two channels of one layer are 400 times as large as the rest, behind a clip (relu6-like) that no
    rescaling of channels goes through; a later layer reads the small ones as strongly as the large ones
    weakly. A scale for the whole value loses the small ones."""
    net = Net(3, image=(1, 3, 16, 16))
    x = net.op("Relu", net.conv("image", 3, 16, name="before"))
    weight, large = net.weight(16, 16, 3, 3), np.array([2, 9])
    weight[large] *= 400
    bias = np.zeros(16, np.float32)
    wide = net.op("Conv", x, net.const(weight), net.const(bias), name="outliers", pads=[1] * 4)
    wide = net.op("Clip", wide, net.const(np.float32(0)), net.const(np.float32(6000)))
    reading = net.weight(8, 16, 1, 1)
    reading[:, large] /= 4000
    y = net.op("Relu", net.op("Conv", wide, net.const(reading), name="reader"))
    y = net.op("Relu", net.conv(y, 8, 8, name="after"))
    return net, net.model(net.conv(y, 8, 2, name="head"))
