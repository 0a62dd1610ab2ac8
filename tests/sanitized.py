"""Programs of the build tree under AddressSanitizer and UBSan."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tiercast.codegen.build import build
from tiercast.paths import room


def sanitized(goal: str) -> Path:
    """Builds a CMake target with every kernel of this machine; skips without clang."""
    if shutil.which("clang++-19") is None:
        pytest.skip("no clang++-19 with sanitizers; apt-get install clang-19")
    folder = room("runtime").parent / "build" / "asan"
    return build("host", folder, goals=(goal,), sanitize="address,undefined") / goal
