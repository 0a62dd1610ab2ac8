"""Instruction sets: what kernels/isa.toml says of each."""

from __future__ import annotations

import tomllib
from functools import cache
from typing import Any

from tiercast.paths import room


@cache
def instruction_sets() -> dict[str, dict[str, Any]]:
    """Name -> its `arch` and `needs` (both may be absent, see the file) and `flags`."""
    return tomllib.loads((room("kernels") / "isa.toml").read_text())
