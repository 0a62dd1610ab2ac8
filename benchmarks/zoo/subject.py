"""What one net of the conversion zoo is: how to make its model, and whose arithmetic judges it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Made:
    """A model ready to compile.

    source: what `tiercast.compile` takes. inputs: arrays by port name; those not given are random.
    expected: the outputs of the model's own framework on `inputs`, in order; None: `frontend.reference`
    computes them. shapes: what fixes the dimensions that the model leaves open.
    """

    source: Any
    inputs: dict[str, np.ndarray] = field(default_factory=dict)
    expected: list[np.ndarray] | None = None
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """One net: `make(folder)` builds its model with seeded random weights and may keep files in `folder`.

    name: unique, "timm/resnet18". kind: "f32" (judged by the relative error) or "int8" (by least significant
    bits). channels_last: its layout is NHWC, so that a transpose left in the plan is a fault.
    """

    name: str
    make: Callable[[Path], Made]
    kind: str = "f32"
    channels_last: bool = False
