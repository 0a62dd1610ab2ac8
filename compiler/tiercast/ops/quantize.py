"""Quantize and Dequantize: between f32 and bytes around a zero point, at the borders of what runs in
integers."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.layouter import MAX_COPY_AXES, Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.pointwise import in_order
from tiercast.ops.registry import REQUIRED, Op, attr, dense_strides, dtype, shape, where

_TYPES = {"s8": ir.DataType.INT8, "u8": ir.DataType.UINT8}
_NARROW = (ir.DataType.INT8, ir.DataType.UINT8)
_WIDE = (ir.DataType.INT16, ir.DataType.UINT16)  # quantized by arithmetic and a cast


class Quantize(Op):
    """y = x / scale + zero, the nearest integer (halves to even), kept within y's type. x f32; `to`: s8
    or u8.
    """

    onnx = ("QuantizeLinear",)
    inputs = ("x",)
    attributes: ClassVar = {"scale": REQUIRED, "zero": 0, "to": "s8"}
    strided_inputs = True
    strided_outputs = True

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """One scale: this op. One for each index of an axis, blocks, computed scales or 16 bits: arithmetic
        and a cast, which saturates.
        """
        x, out = node.inputs[0], node.outputs[0]
        assert x is not None
        kind = layout.dtype(out)
        if kind not in (*_NARROW, *_WIDE) or layout.dtype(x) != ir.DataType.FLOAT:
            raise GraphError(
                f"{where(node)}: quantizes {layout.dtype(x)} to {kind}; f32 to s8, u8, s16, u16 is supported"
            )
        uniform = uniform_scale(node, layout) if kind in _NARROW else None
        perm = layout.perm(x)
        source = layout.as_perm(x, perm)
        if uniform is not None:
            scale, zero = uniform
            attributes = {"scale": scale, "zero": zero, "to": "s8" if kind == ir.DataType.INT8 else "u8"}
            layout.bind(out, layout.emit("Quantize", [source], attributes)[0], perm)
            return
        scale_value, zero_value = _spread(node, layout, perm)
        lines = ["div i0 i1", "round t0", *(["add t1 i2"] if zero_value is not None else [])]
        operands = [source, scale_value, *([zero_value] if zero_value is not None else [])]
        made = layout.emit("Pointwise", operands, {"program": lines})[0]
        layout.bind(out, layout.emit("Cast", [made], {"to": int(kind)})[0], perm)

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """x's shape."""
        (x,) = node.inputs
        assert x is not None
        if dtype(x) != ir.DataType.FLOAT or attr(node, "to") not in _TYPES:
            raise GraphError(
                f"{where(node)}: x must be f32 and `to` s8 or u8; {dtype(x)} to {attr(node, 'to')!r}"
            )
        _check_scale(node)
        return [(_TYPES[attr(node, "to")], shape(x))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One call."""
        params = {"scale": attr(node, "scale"), "zero": attr(node, "zero")}
        low.call(node, low.choose("quantize_f32s8"), list(node.inputs), list(node.outputs), params)


class Dequantize(Op):
    """y = (x - zero) * scale, f32. x s8, u8 or s32."""

    onnx = ("DequantizeLinear",)
    inputs = ("x",)
    attributes: ClassVar = {"scale": REQUIRED, "zero": 0}
    strided_inputs = True
    strided_outputs = True

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """One scale: this op. One for each index of an axis, blocks, computed scales or 16 bits: a cast and
        arithmetic.
        """
        x, out = node.inputs[0], node.outputs[0]
        assert x is not None
        kinds = (*_NARROW, *_WIDE, ir.DataType.INT32)
        if layout.dtype(x) not in kinds or layout.dtype(out) != ir.DataType.FLOAT:
            raise GraphError(
                f"{where(node)}: dequantizes {layout.dtype(x)} to {layout.dtype(out)}; s8, u8, s16, u16 or "
                "s32 to f32 is supported"
            )
        uniform = uniform_scale(node, layout) if layout.dtype(x) not in _WIDE else None
        perm = layout.perm(x)
        source = layout.as_perm(x, perm)
        if uniform is not None and (layout.dtype(x) != ir.DataType.INT32 or uniform[1] == 0):
            scale, zero = uniform
            layout.bind(out, layout.emit("Dequantize", [source], {"scale": scale, "zero": zero})[0], perm)
            return
        scale_value, zero_value = _spread(node, layout, perm)
        wide = layout.emit("Cast", [source], {"to": int(ir.DataType.FLOAT)})[0]
        lines = ["mul i0 i1"] if zero_value is None else ["sub i0 i2", "mul t0 i1"]
        operands = [wide, scale_value, *([zero_value] if zero_value is not None else [])]
        layout.bind(out, layout.emit("Pointwise", operands, {"program": lines})[0], perm)

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """x's shape."""
        (x,) = node.inputs
        assert x is not None
        if dtype(x) not in (*_NARROW, ir.DataType.INT32):
            raise GraphError(f"{where(node)}: x must be s8, u8 or s32, it is {dtype(x)}")
        _check_scale(node)
        return [(ir.DataType.FLOAT, shape(x))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One call."""
        params = {"scale": attr(node, "scale"), "zero": attr(node, "zero")}
        low.call(node, low.choose("dequantize_s8f32"), list(node.inputs), list(node.outputs), params)


def uniform_scale(node: ir.Node, layout: Layouter) -> tuple[float, int] | None:
    """(scale, zero point) of an ONNX node that has constant ones for the whole value, else None.

    GraphError when the scale is not finite or not above 0.
    """
    scale, zero = layout.const(node.inputs[1]), np.zeros(1, np.int64)
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        found = layout.const(node.inputs[2])
        if found is None:
            return None
        zero = found.reshape(-1)
    if scale is None or scale.size != 1 or zero.size != 1 or scale.dtype != np.float32:
        return None
    value = float(scale.reshape(-1)[0])
    if not np.isfinite(value) or value <= 0:
        raise GraphError(f"{where(node)}: the scale is {value}; it must be finite and above 0")
    return value, int(zero[0])


def _check_scale(node: ir.Node) -> None:
    scale = float(attr(node, "scale"))
    if not np.isfinite(scale) or scale <= 0:
        raise GraphError(f"{where(node)}: the scale is {scale}; it must be finite and above 0")


def _spread(node: ir.Node, layout: Layouter, perm: tuple[int, ...]) -> tuple[ir.Value, ir.Value | None]:
    """scale and zero point as f32 values that broadcast against x in `perm`."""
    x = node.inputs[0]
    assert x is not None
    dims = layout.shape(x)
    axis = int(attr(node, "axis", 1)) % max(len(dims), 1)
    block = int(attr(node, "block_size", 0))

    def value_of(value: ir.Value) -> ir.Value:
        own = layout.shape(value)
        along: Any = [1] * len(dims)
        if len(own) == 1 and own[0] > 1:
            along[axis] = own[0]
        array = layout.const(value)
        if array is not None:
            real = array.astype(np.float32)
            if len(own) == len(dims) and block:
                along = dims
                real = np.repeat(real, block, axis).take(range(dims[axis]), axis)
            return layout.constant(
                np.ascontiguousarray(np.transpose(real.reshape(along), perm)), value.name or "scale"
            )
        if block:
            made = layout.transpose(_repeated(node, layout, value, axis, block, dims), perm)
        else:
            made = in_order(layout, value, perm, along)
        if layout.dtype(value) != ir.DataType.FLOAT:
            made = layout.emit("Cast", [made], {"to": int(ir.DataType.FLOAT)})[0]
        return made

    scale, zero = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None
    assert scale is not None
    return value_of(scale), None if zero is None else value_of(zero)


def _repeated(
    node: ir.Node, layout: Layouter, value: ir.Value, axis: int, block: int, dims: tuple[int, ...]
) -> ir.Value:
    """A computed scale or zero point of blocks, each element `block` times along `axis`, in logical order."""
    own = layout.shape(value)
    whole = (*own[:axis], own[axis] * block, *own[axis + 1 :]) if len(own) == len(dims) else own
    if whole != dims or len(dims) >= MAX_COPY_AXES:
        raise GraphError(
            f"{where(node)}: scales {own} of blocks of {block}, computed at run time, do not fill {dims}"
        )
    steps = dense_strides(own)
    attributes = {
        "dims": [*own[: axis + 1], block, *own[axis + 1 :]],
        "in_strides": [*steps[: axis + 1], 0, *steps[axis + 1 :]],
        "offset": 0,
        "shape": list(dims),
    }
    return layout.emit("Copy", [layout.plain(value)], attributes)[0]
