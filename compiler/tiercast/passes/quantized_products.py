"""Convolutions and products of matrices on integers: weights, biases and scales of the integer operators."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import array
from tiercast.passes.quantization import BYTES, Quantization, behind, real_constant

# So many products of s8 with a shifted s8 stay within s32.
_MOST_PRODUCTS = 2**31 // (255 * 128)
# Of 1 is what an accumulator's step may be where a weight's scale is 0: finer than any result.
_FINEST = 2.0**-20


@dataclass(frozen=True)
class Product:
    """The operands of an integer product: x's integers, weights s8, bias s32 [OC] and the sums' scale
    f32 [OC].
    """

    x: ir.Value
    x_how: Quantization
    weight: np.ndarray
    bias: np.ndarray
    scale: np.ndarray


def product_of(node: ir.Node, bias: ir.Value | None = None) -> Product | str:
    """A Conv, ConvTranspose, MatMul or Gemm whose x and weight are quantized, the weight constant, or
    the reason why its product is no integer one. `bias`: one that is added behind it.
    """
    source, stored = behind(node.inputs[0]), behind(node.inputs[1])
    if source is None or not source[1].uniform or source[1].kind not in BYTES:
        return "its input is not s8 or u8 with one scale"
    weight = array(stored[0]) if stored is not None else None
    if stored is None or weight is None or stored[1].kind not in BYTES:
        return "its weight is no constant s8 or u8"
    axis = output_axis(node, weight.ndim)
    reason = _form_refusal(node, weight, stored[1], axis)
    if reason is not None:
        return reason
    centred = _centred(weight, stored[1])
    if isinstance(centred, str):
        return centred
    if node.op_type == "Gemm" and _number(node, "transB", 0):
        centred, axis = np.ascontiguousarray(centred.T), 1
    columns = centred.shape[axis] * (_number(node, "group", 1) if node.op_type == "ConvTranspose" else 1)
    steps = np.broadcast_to(stored[1].scale, (columns,)).astype(np.float32) * source[1].one_scale
    given = bias if bias is not None else (node.inputs[2] if len(node.inputs) > 2 else None)
    return _with_bias(
        node, given, Product(source[0], source[1], centred, np.zeros(columns, np.int32), steps), axis
    )


def output_axis(node: ir.Node, rank: int) -> int:
    """The axis of the stored weight that has an element for each channel of the result."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    return 0 if node.op_type == "Gemm" and _number(node, "transB", 0) else rank - 1


def _form_refusal(node: ir.Node, weight: np.ndarray, how: Quantization, axis: int) -> str | None:
    if node.op_type in ("MatMul", "Gemm"):
        if weight.ndim != 2:
            return f"its weight has rank {weight.ndim}, 2 is supported"
        if node.op_type == "Gemm" and (
            _number(node, "alpha", 1) != 1 or _number(node, "beta", 1) != 1 or _number(node, "transA", 0)
        ):
            return "it scales or transposes its operands"
    elif weight.ndim not in (3, 4):
        return f"its weight has rank {weight.ndim}; 1-D and 2-D convolutions are supported"
    if node.op_type == "ConvTranspose" and (
        _number(node, "group", 1) != 1 or max(_numbers(node, "dilations"), default=1) > 1
    ):
        return "a transposed convolution has one group and no dilation here"
    if how.axis is not None and how.axis != axis:
        return f"its weight's scales lie along axis {how.axis}, those of the result's channels along {axis}"
    products = weight.size // weight.shape[axis]
    return f"a sum of {products} products may leave s32" if products > _MOST_PRODUCTS else None


def _centred(weight: np.ndarray, how: Quantization) -> np.ndarray | str:
    """The weight less its zero points, as s8."""
    along = [1] * weight.ndim
    if how.axis is not None:
        along[how.axis] = -1
    zero = how.zero.reshape(along) if how.axis is not None else how.zero[0]
    wide = weight.astype(np.int64) - zero
    if wide.min(initial=0) < -128 or wide.max(initial=0) > 127:
        return f"its weights less their zero point are {wide.min()}..{wide.max()}, which is no s8"
    return np.asarray(wide, np.int8)


def _with_bias(node: ir.Node, bias: ir.Value | None, made: Product, axis: int) -> Product | str:
    real = np.zeros(len(made.scale), np.float64)
    whole: np.ndarray | None = None
    if bias is not None:
        data, stored = real_constant(bias), behind(bias)
        if data is None or data.size not in (1, len(real)) or (data.ndim > 1 and data.shape[-1] != data.size):
            return "its bias is no constant of one value for each channel"
        real[:] = data.reshape(-1)
        if stored is not None and stored[1].kind == ir.DataType.INT32 and not stored[1].zero.any():
            same = np.allclose(
                np.broadcast_to(stored[1].scale, made.scale.shape), made.scale, rtol=1e-5, atol=0
            )
            integers = array(stored[0])
            whole = (
                np.broadcast_to(integers.reshape(-1), real.shape) if same and integers is not None else None
            )
    weight, scale = made.weight, made.scale
    if (scale == 0).any():  # channels without weights: nothing but the bias
        dead = scale == 0
        along = [1] * weight.ndim
        along[axis] = -1
        weight = np.where(dead.reshape(along), np.int8(0), weight)
        scale = np.where(dead, np.maximum(np.abs(real), 1.0) * _FINEST, scale).astype(np.float32)
    if whole is None:
        whole = np.rint(real / scale.astype(np.float64))
    if np.abs(whole).max(initial=0) >= 2**31:
        return f"its bias is {np.abs(whole).max():.3g} steps of its sums, which leaves s32"
    return Product(made.x, made.x_how, weight, whole.astype(np.int32), scale)


def _number(node: ir.Node, name: str, default: int) -> float:
    found = node.attributes.get(name)
    return default if found is None else found.value


def _numbers(node: ir.Node, name: str) -> list[int]:
    found = node.attributes.get(name)
    return [] if found is None else [int(item) for item in found.value]
