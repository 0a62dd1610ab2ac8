"""The shipped stories segmentation for the benchmarks: its own modules, and a package as its function."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import tiercast

EFFECT = Path(__file__).parents[1] / "effects" / "stories_segmentation"
Package = Callable[[Tensor, Tensor], Tensor]


def effect() -> Any:
    """The effect's own modules: model, mixing, cache, evaluate."""
    sys.path.insert(0, str(EFFECT))
    return {name: importlib.import_module(name) for name in ("model", "mixing", "cache", "evaluate")}


def as_function(path: Path) -> Package:
    """A package of one picture as a function of batches [N, C, S, S]."""
    session = tiercast.Session(path, threads=1)

    def run(frame: Tensor, previous: Tensor) -> Tensor:
        masks = []
        for picture, mask in zip(frame, previous, strict=True):
            fed = {"frame": picture[None].numpy(), "previous_mask": mask[None].numpy()}
            masks.append(torch.from_numpy(np.array(next(iter(session.run(fed).values())))))
        return torch.cat(masks)

    return run
