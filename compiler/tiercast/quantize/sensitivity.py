"""How much noise each layer alone on integers adds to a model's outputs."""

from __future__ import annotations

from collections.abc import Sequence

from tiercast.progress import report_progress
from tiercast.quantize.insert import insert_quantization
from tiercast.quantize.layers import Layer
from tiercast.quantize.measure import noise_to_signal, outputs_of
from tiercast.quantize.observe import copied
from tiercast.quantize.ptq import Calibrated

_SAMPLES = 4


def measure_noise(calibrated: Calibrated, layers: Sequence[Layer]) -> None:
    """Writes each layer's noise: the power of what the outputs differ by when only it is on integers, over
    their own power; on the first samples."""
    batches, exact = calibrated.data.batches[:_SAMPLES], calibrated.exact[:_SAMPLES]
    for at, layer in enumerate(layers):
        report_progress(f"sensitivity of layer {at + 1} of {len(layers)}: {layer.name}")
        model = copied(calibrated.prepared(layer.names)[0])
        insert_quantization(model, layer.names, calibrated.ranges)
        layer.noise = noise_to_signal(exact, outputs_of(model, batches))
