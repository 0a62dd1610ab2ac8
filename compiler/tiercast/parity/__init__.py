"""Parity of any two of: a model, its graph after a stage, packages, targets; and what breaks it."""

from __future__ import annotations

from tiercast.parity.difference import TOLERANCES, Difference, difference
from tiercast.parity.judge import complete_inputs, verify
from tiercast.parity.report import OutputParity, VerifyReport, WrongStep
from tiercast.parity.side import Side

__all__ = [
    "TOLERANCES",
    "Difference",
    "OutputParity",
    "Side",
    "VerifyReport",
    "WrongStep",
    "complete_inputs",
    "difference",
    "verify",
]
