"""What one reference model is: how to make it, what it eats, what it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Generator, Tensor, nn

Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class Entry:
    """`make` builds the bare module, `inputs` draws an example in forward order, `outputs` names results."""

    make: Callable[[], nn.Module]
    inputs: Callable[[Generator], Inputs]
    outputs: tuple[str, ...]
