"""How near a quantized model's outputs are to the float model's: signal to quantization noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from tiercast.frontend import reference

Batch = Mapping[str, np.ndarray]
Outputs = list[np.ndarray]
BEST_DB = 200.0  # what exactly equal outputs count as


def outputs_of(model: ir.Model, batches: Sequence[Batch]) -> list[Outputs]:
    """The model's outputs on every batch, by onnxruntime without optimisations (quantized parts in their own
    steps)."""
    run = reference(model)[1]
    return [
        run({value.name or "": batch[value.name or ""] for value in model.graph.inputs}) for batch in batches
    ]


def noise_to_signal(exact: Sequence[Outputs], got: Sequence[Outputs]) -> float:
    """Power of the difference over power of the exact outputs, of the worst output; over all batches."""
    worst = 0.0
    for at in range(len(exact[0])):
        signal = sum(float(np.square(item[at].astype(np.float64)).sum()) for item in exact)
        pairs = zip(exact, got, strict=True)
        noise = sum(
            float(np.square(a[at].astype(np.float64) - b[at].astype(np.float64)).sum()) for a, b in pairs
        )
        worst = max(worst, noise / signal if signal else (0.0 if noise == 0 else math.inf))
    return worst


def decibels(ratio: float) -> float:
    """A ratio of noise to signal as SQNR in dB, within +-BEST_DB."""
    if ratio <= 0:
        return BEST_DB
    return max(-BEST_DB, min(BEST_DB, -10 * math.log10(ratio))) if math.isfinite(ratio) else -BEST_DB


def sqnr_of(model: ir.Model, batches: Sequence[Batch], exact: Sequence[Outputs]) -> float:
    """The SQNR in dB of a quantized model's worst output."""
    return decibels(noise_to_signal(exact, outputs_of(model, batches)))
