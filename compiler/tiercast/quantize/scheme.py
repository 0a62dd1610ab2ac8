"""Our integer arithmetic, stated once: what calibration, training and the integer kernels agree on.

* Activations: s8, -128..127, one scale and zero point for the whole value (asymmetric). 0.0 is exact.
* Weights: s8, -127..127, zero point 0, a scale for each output channel (symmetric).
* Bias: s32 in steps of x's scale times the channel's weight scale, which is the step of the sums.
* Sums are s32; a result is rint(sum * (x_scale * w_scale / y_scale)) + y_zero in f32, halves to even, kept
  within s8: what onnxruntime's and XNNPACK's kernels compute. relu and clip only narrow these limits.
* A function of one value is a table of 256 bytes: quantize(f(dequantize(q))).
* real = (q - zero) * scale; q = rint(real / scale) + zero, halves to even.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tiercast.passes.quantization import HIGH, LOW, Quantization

__all__ = [
    "BIAS_LIMIT",
    "HIGH",
    "LOW",
    "SMALLEST_SCALE",
    "WEIGHT_HIGH",
    "activation",
    "bias_integers",
    "fake_quantized",
    "weight_integers",
    "weight_scales",
]

WEIGHT_HIGH = 127  # of weights: -127..127, so that a weight and its negative are both there
SMALLEST_SCALE = np.float32(2.0**-40)  # finer steps would leave f32 in products of two scales
BIAS_LIMIT = 2.0**30  # |bias| in steps of the sums: leaves as much again for the sums themselves


def activation(low: float, high: float) -> Quantization:
    """How a value that lies in low..high becomes s8: the range, widened to hold 0, over 255 steps.

    low and high must be finite (ValueError). A value that is always 0 gets the step 1/128: every scale holds
    it.
    """
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"the range {low}..{high} is not finite")
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    span = (high - low) / (HIGH - LOW)
    scale = np.maximum(np.float32(span if span > 0 else 1 / 128), SMALLEST_SCALE)
    zero = int(np.clip(np.rint(LOW - low / float(scale)), LOW, HIGH))
    return Quantization(ir.DataType.INT8, scale.reshape(1), np.array([zero], np.int64), None)


def weight_scales(weight: np.ndarray, axis: int) -> np.ndarray:
    """The scale f32 [C] of each index of `axis`; channels of zeros get the smallest one."""
    others = tuple(at for at in range(weight.ndim) if at != axis)
    largest = np.abs(weight).max(axis=others, initial=0.0).astype(np.float32)
    scales: np.ndarray = np.maximum(largest / np.float32(WEIGHT_HIGH), SMALLEST_SCALE)
    return scales


def weight_integers(weight: np.ndarray, scales: np.ndarray, axis: int) -> np.ndarray:
    """s8 of a weight: the nearest step of its channel, halves to even, within -127..127."""
    along = [1] * weight.ndim
    along[axis] = -1
    wide = np.rint(weight.astype(np.float32) / scales.reshape(along))
    whole: np.ndarray = np.clip(wide, -WEIGHT_HIGH, WEIGHT_HIGH).astype(np.int8)
    return whole


def bias_integers(bias: np.ndarray, x_scale: np.float32, scales: np.ndarray) -> np.ndarray:
    """s32 [C] of a bias f32 [C], in steps of x_scale * scales; kept within +-BIAS_LIMIT."""
    steps = np.float64(x_scale) * scales.astype(np.float64)
    whole: np.ndarray = np.clip(np.rint(bias.astype(np.float64) / steps), -BIAS_LIMIT, BIAS_LIMIT).astype(
        np.int32
    )
    return whole


def scales_for_bias(scales: np.ndarray, bias: np.ndarray, x_scale: np.float32) -> np.ndarray:
    """Weight scales f32 [C], enlarged where the bias would leave s32: a channel that is nearly its bias
    only."""
    least = np.abs(bias.astype(np.float64)) / (BIAS_LIMIT * np.float64(x_scale))
    enlarged: np.ndarray = np.maximum(scales, least.astype(np.float32))
    return enlarged


def fake_quantized(real: np.ndarray, how: Quantization) -> np.ndarray:
    """f32 that a value becomes by a quantize and a dequantize; `how` has one scale."""
    whole = how.quantize(real).astype(np.float32) - np.float32(how.signed_zero)
    made: np.ndarray = whole * how.one_scale
    return made
