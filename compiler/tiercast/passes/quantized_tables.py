"""Elementwise operators between DequantizeLinear and QuantizeLinear: tables of one value, sums and
products of two."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import static_shape
from tiercast.passes.evaluate import evaluate
from tiercast.passes.quantization import BYTES, Quantization, behind, dequantized, real_constant
from tiercast.passes.quantized_constants import with_constant

# Each element of the result comes of the same element of the operands, and no attribute names an axis.
ELEMENTWISE = frozenset(
    [
        *(
            "Abs",
            "Acos",
            "Acosh",
            "Add",
            "Asin",
            "Asinh",
            "Atan",
            "Atanh",
            "Ceil",
            "Celu",
            "Clip",
            "Cos",
            "Cosh",
            "Div",
            "Elu",
        ),
        *(
            "Erf",
            "Exp",
            "Floor",
            "Gelu",
            "HardSigmoid",
            "HardSwish",
            "Identity",
            "LeakyRelu",
            "Log",
            "Max",
            "Mean",
            "Min",
        ),
        *(
            "Mish",
            "Mul",
            "Neg",
            "PRelu",
            "Pow",
            "Reciprocal",
            "Relu",
            "Round",
            "Selu",
            "Shrink",
            "Sigmoid",
            "Sign",
            "Sin",
        ),
        *("Sinh", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tan", "Tanh", "ThresholdedRelu"),
    ]
)
_MOST_NODES = 64


@dataclass
class Region:
    """Elementwise nodes in order, the quantized values that they read, and their constants as f32."""

    nodes: list[ir.Node] = field(default_factory=list)
    sources: dict[ir.Value, tuple[ir.Value, Quantization]] = field(default_factory=dict)  # real -> integers
    constants: dict[ir.Value, np.ndarray] = field(default_factory=dict)


def region_before(value: ir.Value) -> Region | str:
    """The elementwise nodes that compute a real value of quantized values, or why there is no such region."""
    region = Region()
    reason = _collect(value, region)
    return reason or region


def lookup_table(region: Region, result: ir.Value, how: Quantization) -> tuple[np.ndarray, int | None] | str:
    """The table s8 [256] or [C,256] (and then its axis) of a region that reads one quantized value, by
    the bits of its s8 form; or why there is none.
    """
    (real, (integers, source)), *others = region.sources.items()
    if any(item[0] is not integers for _, item in others):
        return "it reads several quantized values"
    dims = static_shape(real)
    if dims is None or dims != static_shape(result):
        return "it broadcasts its quantized value to a larger shape"
    axes = {axis for data in region.constants.values() for axis in _axes(data, len(dims))}
    if len(axes) > 1:
        return "its constants differ along several axes"
    axis = next(iter(axes), None)
    signed = np.arange(256, dtype=np.uint8).view(np.int8)
    values = dequantized(
        signed, Quantization(ir.DataType.INT8, source.scale, np.array([source.signed_zero]), None)
    )
    along = [256, *(dims[at] if at == axis else 1 for at in range(len(dims)))]
    fed = np.broadcast_to(values.reshape([256, *[1] * len(dims)]), along)
    whole = with_constant(region.nodes[0], real, how) if len(region.nodes) == 1 else None
    if whole is None:
        given = {real: fed, **{other: fed for other, _ in others}, **region.constants}
        whole = how.quantize(evaluate(region.nodes, given, result) if region.nodes else fed)
    whole = whole.reshape(256, *[1] * (len(along) - whole.ndim), *whole.shape[1:])
    table = np.broadcast_to(whole, along).reshape(256, -1)
    return (table[:, 0], None) if axis is None else (np.ascontiguousarray(table.T), axis)


def _axes(data: np.ndarray, rank: int) -> list[int]:
    """Axes of a value of `rank` along which a constant that broadcasts against it has more than one
    element.
    """
    return [rank - data.ndim + at for at, dim in enumerate(data.shape) if dim != 1]


def _collect(value: ir.Value, region: Region) -> str | None:
    if value in region.sources or value in region.constants:
        return None
    source = behind(value)
    constant = real_constant(value)
    if constant is not None:
        region.constants[value] = constant
        return None
    if source is not None:
        if not source[1].uniform or source[1].kind not in BYTES:
            return f"{value.name!r} has one scale for each channel, or is {source[1].kind}"
        region.sources[value] = source
        return None
    node = value.producer()
    if node is None or node.domain != "" or node.op_type not in ELEMENTWISE or len(node.outputs) != 1:
        return f"{'an input of the model' if node is None else node.op_type} has no form on integers here"
    if node in region.nodes:
        return None
    if len(region.nodes) >= _MOST_NODES:
        return f"more than {_MOST_NODES} operators stand between"
    for operand in node.inputs:
        reason = _collect(operand, region) if operand is not None else None
        if reason is not None:
            return reason
    region.nodes.append(node)
    return None
