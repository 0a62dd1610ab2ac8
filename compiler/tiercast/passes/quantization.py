"""Reading ONNX's QuantizeLinear and DequantizeLinear: scales, zero points, and the integers behind a
real value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import array

BYTES = (ir.DataType.INT8, ir.DataType.UINT8)
LOW, HIGH = -128, 127  # of s8


@dataclass(frozen=True)
class Quantization:
    """real = (q - zero) * scale. scale f32, zero s64: one value, or one for each index of `axis`.

    scale is finite and at least 0. kind: the integers' type.
    """

    kind: ir.DataType
    scale: np.ndarray
    zero: np.ndarray
    axis: int | None

    @property
    def uniform(self) -> bool:
        """Whether one scale holds for the whole value."""
        return self.axis is None

    @property
    def one_scale(self) -> np.float32:
        """The scale of a uniform one."""
        return np.float32(self.scale[0])

    @property
    def signed_zero(self) -> int:
        """The zero point of a uniform one, once the integers are s8 (u8 less 128)."""
        return int(self.zero[0]) - (128 if self.kind == ir.DataType.UINT8 else 0)

    def same_as(self, other: Quantization) -> bool:
        """Whether both map integers alike."""
        return (
            self.kind == other.kind
            and self.axis == other.axis
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero, other.zero)
        )

    def quantize(self, real: np.ndarray | float) -> np.ndarray:
        """Signed integers of reals, by a uniform one: nearest, halves to even, kept within s8. NaN: the
        least.
        """
        wide = np.rint(np.asarray(real, np.float32) / self.one_scale) + np.float32(self.signed_zero)
        whole = np.clip(np.nan_to_num(wide, nan=LOW, posinf=HIGH, neginf=LOW), LOW, HIGH)
        return np.asarray(whole, np.int8)


def quantization_of(node: ir.Node | None) -> Quantization | None:
    """What a QuantizeLinear or DequantizeLinear node says, None for any other node, computed or blocked
    scales, scales that are not f32, finite and >= 0, and types other than s8, u8 and s32.
    """
    if node is None or node.op_type not in ("QuantizeLinear", "DequantizeLinear") or node.domain != "":
        return None
    integers = node.outputs[0] if node.op_type == "QuantizeLinear" else node.inputs[0]
    scale = array(node.inputs[1])
    zero_value = node.inputs[2] if len(node.inputs) > 2 else None
    zero = array(zero_value) if zero_value is not None else None
    if scale is None or scale.dtype != np.float32 or (zero_value is not None and zero is None):
        return None
    if integers is None or integers.dtype not in (*BYTES, ir.DataType.INT32) or scale.ndim > 1:
        return None
    if not np.isfinite(scale).all() or (scale < 0).any() or _attribute(node, "block_size", 0):
        return None
    zeros = np.zeros(scale.size, np.int64) if zero is None else zero.astype(np.int64).reshape(-1)
    if scale.size == 1:
        return Quantization(integers.dtype, scale.reshape(1), zeros[:1], None)
    rank = len(integers.shape or ())
    return Quantization(integers.dtype, scale, zeros, _attribute(node, "axis", 1) % max(rank, 1))


def behind(value: ir.Value | None) -> tuple[ir.Value, Quantization] | None:
    """The integers that a real value is dequantized from, and how; None when it is not."""
    node = value.producer() if value is not None else None
    found = quantization_of(node) if node is not None and node.op_type == "DequantizeLinear" else None
    if found is None or node is None or node.inputs[0] is None:
        return None
    return node.inputs[0], found


def array_behind(value: ir.Value | None) -> np.ndarray | None:
    """The integers of a dequantized constant, else None."""
    source = behind(value)
    return array(source[0]) if source is not None else None


def real_constant(value: ir.Value | None) -> np.ndarray | None:
    """The f32 array of a constant, or of a dequantized constant; None for anything else."""
    plain = array(value)
    if plain is not None:
        return plain
    source = behind(value)
    integers = array(source[0]) if source is not None else None
    return None if source is None or integers is None else dequantized(integers, source[1])


def dequantized(integers: np.ndarray, how: Quantization) -> np.ndarray:
    """f32 reals of integers."""
    along = [1] * integers.ndim
    if how.axis is not None:
        along[how.axis] = -1
    zero, scale = (
        (item.reshape(along) if how.axis is not None else item[0]) for item in (how.zero, how.scale)
    )
    return np.asarray((integers.astype(np.int64) - zero).astype(np.float32) * scale, np.float32)


def _attribute(node: ir.Node, name: str, default: int) -> int:
    found = node.attributes.get(name)
    return default if found is None else int(found.value)
