"""Custom operators that common models carry; their options are the bytes of a C struct."""

from __future__ import annotations

import struct

import tflite

from tiercast.errors import ModelError
from tiercast.frontend.tflite_ops.file import Operator
from tiercast.frontend.tflite_ops.scope import Scope
from tiercast.frontend.tflite_ops.spatial import bias_of, transposed
from tiercast.frontend.tflite_ops.table import translates

# TfLitePadding of LiteRT's C headers, which counts from 1.
_PADDINGS = {1: tflite.Padding.SAME, 2: tflite.Padding.VALID}


@translates("CUSTOM 'Convolution2DTransposeBias'", inputs=3)
def convolution_2d_transpose_bias(scope: Scope, op: Operator) -> None:
    """MediaPipe's: image, weights O,H,W,I, bias; options TfLiteTransposeConvParams {padding, stride w, h}."""
    if len(op.custom_options) < 12:
        raise ModelError(f"its options have {len(op.custom_options)} bytes; 12 are needed")
    padding, stride_w, stride_h = struct.unpack_from("<3i", op.custom_options)
    if padding not in _PADDINGS:
        raise ModelError(f"its padding is {padding}; 1 (SAME) and 2 (VALID) are known")
    chosen = {"Padding": _PADDINGS[padding], "StrideW": stride_w, "StrideH": stride_h}
    transposed(scope, op, op.inputs[0], op.inputs[1], bias_of(scope, op, 2), chosen, None)
