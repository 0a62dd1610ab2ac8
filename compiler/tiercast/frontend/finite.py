"""Constants that nobody can have meant: NaN anywhere, infinity where it is multiplied and summed.

Infinity is meant where it masks (added to scores before a softmax), limits (Clip, Max, Min), pads or selects;
as a weight it makes NaN of the first zero that meets it.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tiercast.errors import ModelError
from tiercast.ir.report import label

# Operators that multiply their constants with data and sum, or normalise by them.
_SUMMING = frozenset(
    {
        "BatchNormalization",
        "Conv",
        "ConvTranspose",
        "DequantizeLinear",
        "GRU",
        "Gemm",
        "GroupNormalization",
        "InstanceNormalization",
        "LSTM",
        "LayerNormalization",
        "MatMul",
        "PRelu",
        "QuantizeLinear",
        "RMSNormalization",
        "RNN",
    }
)


def check_constants(model: ir.Model) -> None:
    """Raises ModelError that names the constant, the element and, for infinity, the node that sums it."""
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is None or not value.uses() or not value.dtype or not value.dtype.is_floating_point():
            continue
        data = tensor.numpy()
        if data.size == 0 or data.dtype.kind != "f":
            continue
        ends = np.array([data.min(), data.max()])  # which hand NaN on; no copy of the array is made
        if np.isfinite(ends).all():
            continue
        reader = next((use.node for use in value.uses() if use.node.op_type in _SUMMING), None)
        if np.isnan(ends).any():
            _refuse(model, name, data, "nan", "NaN is never a weight")
        if reader is not None:
            _refuse(model, name, data, "infinity", f"{label(reader)} multiplies and sums it")


def _refuse(model: ir.Model, name: str, data: np.ndarray, kind: str, why: str) -> None:
    bad = np.isnan(data) if kind == "nan" else np.isinf(data)
    first = [int(axis) for axis in np.unravel_index(int(np.argmax(bad)), data.shape)]
    origin = model.metadata_props.get("origin", "the model")
    what = "NaN" if kind == "nan" else "infinite"
    raise ModelError(
        f"{origin}: constant {name!r} of shape {list(data.shape)} is {what} at {first} and in "
        f"{int(np.count_nonzero(bad))} elements in all: {why}; export the model again from weights that are "
        "numbers"
    )
