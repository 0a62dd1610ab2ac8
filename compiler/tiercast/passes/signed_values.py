"""Every quantized value as s8: what is u8 in the model is u8 xor 0x80 in our kernels."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tiercast.ir.domain import QUANTIZED
from tiercast.ir.edit import array, new_constant
from tiercast.passes.move_quantization import MOVERS, moved_inputs
from tiercast.passes.quantization import Quantization, quantization_of

_INT8 = ir.TensorType(ir.DataType.INT8)


class SignedValues:
    """The s8 forms of a graph's u8 values, made once each, as near to their source as it goes."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._made: dict[ir.Value, ir.Value] = {}

    def of(self, value: ir.Value, how: Quantization) -> ir.Value:
        """The value itself where it is s8, else its s8 form."""
        if value.dtype == ir.DataType.INT8:
            return value
        if value not in self._made:
            self._made[value] = self._make(value, how)
        return self._made[value]

    def put(self, unsigned: ir.Value, signed: ir.Value) -> None:
        """Tells that `signed` is the s8 form of `unsigned`."""
        self._made[unsigned] = signed

    def _make(self, value: ir.Value, how: Quantization) -> ir.Value:
        data, node = array(value), value.producer()
        if data is not None:
            return new_constant(self._graph, f"{value.name}.s8", (data ^ np.uint8(0x80)).view(np.int8))
        if node is not None and node.domain == "" and node.op_type in MOVERS and len(node.outputs) == 1:
            return self._moved(node, how)
        if node is not None and quantization_of(node) is not None and node.op_type == "QuantizeLinear":
            return self._quantized_signed(node, how)
        return self._flipped(value, node)

    def _moved(self, node: ir.Node, how: Quantization) -> ir.Value:
        """The mover again, on the s8 forms of what it moves; what a Pad fills in is flipped too."""
        inputs = list(node.inputs)
        for index in moved_inputs(node):
            piece = inputs[index]
            assert piece is not None
            inputs[index] = self.of(piece, how)
        if node.op_type == "Pad":
            fill = array(inputs[2]) if len(inputs) > 2 and inputs[2] is not None else np.zeros((), np.uint8)
            if fill is None:
                return self._flipped(node.outputs[0], node)
            inputs += [None] * (3 - len(inputs))
            inputs[2] = new_constant(
                self._graph, f"{node.outputs[0].name}.fill", (fill ^ np.uint8(0x80)).view(np.int8)
            )
        out = ir.Value(name=f"{node.outputs[0].name}.s8", shape=node.outputs[0].shape, type=_INT8)
        made = ir.Node("", node.op_type, inputs, list(node.attributes.values()), outputs=[out], name=out.name)
        self._graph.insert_after(node, [made])
        return out

    def _quantized_signed(self, node: ir.Node, how: Quantization) -> ir.Value:
        zero = new_constant(
            self._graph, f"{node.outputs[0].name}.zero", np.asarray(int(how.zero[0]) - 128, np.int8)
        )
        out = ir.Value(name=f"{node.outputs[0].name}.s8", shape=node.outputs[0].shape, type=_INT8)
        made = ir.Node("", "QuantizeLinear", [*node.inputs[:2], zero], outputs=[out], name=out.name)
        self._graph.insert_after(node, [made])
        return out

    def _flipped(self, value: ir.Value, node: ir.Node | None) -> ir.Value:
        out = ir.Value(name=f"{value.name}.s8", shape=value.shape, type=_INT8)
        table = new_constant(self._graph, f"{value.name}.flip", flip_table(np.int8))
        made = ir.Node(QUANTIZED, "QuantizedLookup", [value, table], outputs=[out], name=out.name)
        if node is not None:
            self._graph.insert_after(node, [made])
        else:
            self._graph.insert_before(self._graph[0], [made])
        return out


def flip_table(kind: type[np.integer]) -> np.ndarray:
    """The table of x xor 0x80, by the bits of x."""
    return (np.arange(256, dtype=np.uint8) ^ np.uint8(0x80)).view(kind)
