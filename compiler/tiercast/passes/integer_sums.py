"""ConvInteger and MatMulInteger: products that are integers already, with zero points that may be
computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from tiercast.ir.domain import QUANTIZED
from tiercast.ir.edit import array, new_constant, static_shape
from tiercast.passes.computed_zeros import add_zero_points
from tiercast.passes.evaluate import evaluate
from tiercast.passes.quantization import BYTES, Quantization
from tiercast.passes.signed_values import SignedValues

INTEGER = ("ConvInteger", "MatMulInteger")
_S32 = ir.TensorType(ir.DataType.INT32)
_KEPT = ("strides", "pads", "dilations", "group", "auto_pad")


def integer_sum(node: ir.Node, graph: ir.Graph, signed: SignedValues) -> list[ir.Node] | str:
    """The nodes that compute a ConvInteger or MatMulInteger on s8, the last one its result; or why none
    do.
    """
    x, w = node.inputs[0], node.inputs[1]
    if x is None or w is None or x.dtype not in BYTES:
        return "its operands are not s8 or u8"
    how = Quantization(x.dtype, np.ones(1, np.float32), np.zeros(1, np.int64), None)
    weight, zero = _weight(node), _zero(node, 2)
    if weight is None:
        return _both_computed(node, graph, signed, how)
    if isinstance(weight, str):
        return weight
    columns = weight.shape[0] if node.op_type == "ConvInteger" else weight.shape[-1]
    if node.op_type == "MatMulInteger" and weight.ndim != 2:
        return f"its weight has rank {weight.ndim}, 2 is supported"
    shift = 128 if x.dtype == ir.DataType.UINT8 else 0
    constants = (weight, np.zeros(columns, np.int32), np.ones(columns, np.float32))
    operands = [
        signed.of(x, how),
        *(new_constant(graph, f"{node.outputs[0].name}.constant", data) for data in constants),
    ]
    kept = {key: node.attributes[key].value for key in _KEPT if key in node.attributes}
    op_type = "QuantizedConv" if node.op_type == "ConvInteger" else "QuantizedGemm"
    known = zero if isinstance(zero, int) else shift
    raw = _made(node, "raw", QUANTIZED, op_type, operands, {**kept, "x_zero": known - shift, "to": "s32"})
    if isinstance(zero, int):
        return [raw]
    # The zero point is computed: each sum lacks it as often as weights meet the image.
    met = new_constant(graph, f"{node.outputs[0].name}.met", _met(node, weight))
    wide = _made(node, "zero", "", "Cast", [zero], {"to": int(ir.DataType.INT32)}, zero.shape)
    start = new_constant(graph, f"{node.outputs[0].name}.shift", np.asarray(shift, np.int32))
    missing = _made(node, "missing", "", "Sub", [start, wide.outputs[0]], {}, zero.shape)
    part = _made(node, "part", "", "Mul", [met, missing.outputs[0]], {}, met.shape)
    return [raw, wide, missing, part, _made(node, "sum", "", "Add", [raw.outputs[0], part.outputs[0]], {})]


def _both_computed(
    node: ir.Node, graph: ir.Graph, signed: SignedValues, how: Quantization
) -> list[ir.Node] | str:
    b, zeros = node.inputs[1], (_zero(node, 2), _zero(node, 3))
    if node.op_type != "MatMulInteger" or b is None or b.dtype not in BYTES:
        return "its weight is computed"
    other = Quantization(b.dtype, how.scale, how.zero, None)
    shifts = [128 if item.kind == ir.DataType.UINT8 else 0 for item in (how, other)]
    known = [zero - shift if isinstance(zero, int) else 0 for zero, shift in zip(zeros, shifts, strict=True)]
    assert node.inputs[0] is not None
    if _matrix_refusal(node.inputs[0], b):
        return "its batches differ, or it is a vector"
    operands = [signed.of(node.inputs[0], how), signed.of(b, other)]
    attributes = {"a_zero": known[0], "b_zero": known[1], "to": "s32"}
    raw = _made(node, "raw", QUANTIZED, "QuantizedMatMul", operands, attributes)
    if all(isinstance(zero, int) for zero in zeros):
        return [raw]
    return [raw, *add_zero_points(node, raw, operands, zeros, shifts)]


def _matrix_refusal(a: ir.Value, b: ir.Value) -> bool:
    return matrix_refusal(static_shape(a), static_shape(b)) is not None


def matrix_refusal(a: tuple[int, ...] | None, b: tuple[int, ...] | None) -> str | None:
    """Why two computed operands are no matrices that QuantizedMatmul multiplies, None when they are."""
    if a is None or b is None or min(len(a), len(b)) < 2:
        return "an operand is a vector"
    batches = [np.prod(dims[:-2], dtype=np.int64) for dims in (a, b)]
    same = a[:-2] == b[:-2]
    return None if same or 1 in batches else "its batches differ"


def _weight(node: ir.Node) -> np.ndarray | str | None:
    """The constant weight less its zero point, as s8; None when it is computed."""
    weight = array(node.inputs[1])
    if weight is None:
        return None
    given = node.inputs[3] if len(node.inputs) > 3 else None
    zero = array(given)
    if given is not None and zero is None:
        return "the zero point of its weight is computed"
    if zero is not None and zero.size > 1:
        along = (-1, *[1] * (weight.ndim - 1)) if node.op_type == "ConvInteger" else (1, -1)
        zero = zero.reshape(along)
    wide = weight.astype(np.int64) - (0 if zero is None else zero.astype(np.int64))
    if wide.min(initial=0) < -128 or wide.max(initial=0) > 127:
        return f"its weights less their zero point are {wide.min()}..{wide.max()}, which is no s8"
    return np.asarray(wide, np.int8)


def _zero(node: ir.Node, index: int) -> int | ir.Value:
    """A zero point: the number, or the value that is computed. One for each row is a value too."""
    value = node.inputs[index] if len(node.inputs) > index else None
    if value is None:
        return 0
    data = array(value)
    return value if data is None or data.size != 1 else int(data.reshape(-1)[0])


def _met(node: ir.Node, weight: np.ndarray) -> np.ndarray:
    """The sum of the weights that meet the image, for each output: s32 [N] or [1,OC,OH,OW]."""
    if node.op_type == "MatMulInteger":
        return np.asarray(weight.astype(np.int32).sum(0), np.int32)
    dims = static_shape(node.inputs[0])
    assert dims is not None
    x, w = ir.Value(name="ones"), ir.Value(name="weight")
    kept = [node.attributes[key] for key in _KEPT if key in node.attributes]
    conv = ir.Node("", "Conv", [x, w], kept, num_outputs=1, name=node.name)
    ones = np.ones((1, *dims[1:]), np.float32)
    return evaluate([conv], {x: ones, w: weight.astype(np.float32)}, conv.outputs[0]).astype(np.int32)


def _made(
    node: ir.Node,
    what: str,
    domain: str,
    op_type: str,
    inputs: list[ir.Value],
    attributes: dict[str, Any],
    dims: ir.Shape | None = None,
) -> ir.Node:
    name = f"{node.outputs[0].name}.{what}"
    out = ir.Value(name=name, shape=dims if dims is not None else node.outputs[0].shape, type=_S32)
    known = [ir.convenience.convert_attribute(key, value) for key, value in attributes.items()]
    return ir.Node(domain, op_type, inputs, known, outputs=[out], name=name)
