"""Pre-flight: what of a model runs where, falls back or is missing; in seconds, before training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from tiercast.custom import custom_ops, find_folders
from tiercast.preflight.report import CheckReport, assemble
from tiercast.preflight.walk import walk

__all__ = ["CheckReport", "check"]


def check(
    source: Any,
    target: str = "host",
    inputs: Mapping[str, Sequence[int]] | None = None,
    *,
    precision: str = "f32",
    dtypes: Mapping[str, str] | None = None,
    ops: Sequence[str | PathLike[str]] | str | PathLike[str] | None = None,
) -> CheckReport:
    """Compiles a model as far as it goes: every refusal, every fall-back, and where each operator runs.

    source, target, inputs, precision, dtypes, ops: as `compile` takes them; weights may be untrained. With
    f16 no ranges are measured, so what overflows is not known yet.
    Raises UsageError for a source nobody takes, unknown targets and precisions, ModelError for one that can't
    be read at all; whatever else the model breaks is in the report's `missing`.
    """
    with custom_ops(find_folders(ops)):
        return assemble(walk(source, target, inputs or {}, precision, dtypes or {}))
