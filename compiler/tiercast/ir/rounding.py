"""How the engine that a quantized model was made for rounds an operator, where that is not ONNX's way.

ONNX's operators cannot say it, so it stands in the node's metadata: without it an operator's result is that
of the reals, halves to even. Front ends write it, the passes that quantize read it.
"""

from __future__ import annotations

import onnx_ir as ir

ROUNDING = "tiercast.rounding"  # the key in a node's metadata
# Of an AveragePool whose input and result have one scale and zero point: the stored integers themselves are
# averaged, and halves go away from zero, or up.
AWAY = "away"
UP = "up"
# Of a ReduceMean: the sum of the stored integers, int8 or uint8, is scaled in f32 and a bias that holds both
# zero points is added, as LiteRT has it by XNNPACK.
BIASED = "biased"
BIASED_U8 = "biased_u8"
# Of a PRelu of quantized values whose slope is quantized too: 32-bit multipliers and shifts (fixed_point.py).
FIXED_POINT = "fixed_point"
# Of an Add or Sub of quantized values: factors of 21 bits, halves up, as LiteRT has them by XNNPACK.
COARSE = "coarse"


def rounding_of(node: ir.Node) -> str | None:
    """One of the above; None for ONNX's own way."""
    return node.metadata_props.get(ROUNDING)
