"""Quantization-aware training in PyTorch: `prepare_qat`, `calibrate`, training, `convert`.

The only place that imports torchao; besides the PyTorch front end the only one that imports torch.
"""

from __future__ import annotations

from tiercast.errors import UsageError

try:
    from tiercast.frontend.torch.exporter import quiet

    with quiet():  # torchao tells of each of its GPU kernels that does not load
        import torchao.quantization.pt2e.quantize_pt2e  # noqa: F401
except ImportError as error:
    raise UsageError(
        f"quantization-aware training needs PyTorch and torchao ({error}): pip install 'tiercast[qat]'"
    ) from error

from tiercast.quantize.qat.config import QATConfig
from tiercast.quantize.qat.prepared import QATModel, calibrate, convert, prepare_qat
from tiercast.quantize.qat.quantizer import TiercastQuantizer
from tiercast.quantize.qat.train import Distillation, Trainer

__all__ = [
    "Distillation",
    "QATConfig",
    "QATModel",
    "TiercastQuantizer",
    "Trainer",
    "calibrate",
    "convert",
    "prepare_qat",
]
