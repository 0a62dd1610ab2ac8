"""Quantization: float models to models that run on integers, with the evidence of what that costs.

`post_training` calibrates, `under_contract` also chooses layers by what they cost and lose,
`prepare_qat` and `convert` train.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tiercast.quantize.agreement import Contract
    from tiercast.quantize.contract import under_contract
    from tiercast.quantize.ptq import Quantized, post_training
    from tiercast.quantize.qat import (
        Distillation,
        QATConfig,
        QATModel,
        TiercastQuantizer,
        Trainer,
        calibrate,
        convert,
        prepare_qat,
    )

__all__ = [
    "Contract",
    "Distillation",
    "QATConfig",
    "QATModel",
    "Quantized",
    "TiercastQuantizer",
    "Trainer",
    "calibrate",
    "convert",
    "post_training",
    "prepare_qat",
    "under_contract",
]

# Loaded on first use, like the package's own (see tiercast/__init__.py).
_HOMES = {name: "qat" for name in __all__} | {
    "Contract": "agreement",
    "Quantized": "ptq",
    "post_training": "ptq",
    "under_contract": "contract",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
