"""Programs of the build tree under AddressSanitizer and UBSan."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tiercast.paths import room

ROOT = room("runtime").parent
BUILD = ROOT / "build" / "asan"


def sanitized(goal: str) -> Path:
    """Builds a CMake target with every kernel of this machine ; skips without clang."""
    if shutil.which("clang++-19") is None:
        pytest.skip("no clang++-19 with sanitizers; apt-get install clang-19")
    cmake = shutil.which("cmake") or str(Path(sys.executable).parent / "cmake")
    options = ["-DTIERCAST_SANITIZE=address,undefined", f"-DTIERCAST_PYTHON={sys.executable}"]
    if shutil.which("ninja"):
        options.append("-GNinja")
    subprocess.run([cmake, "-S", str(ROOT), "-B", str(BUILD), *options], check=True, capture_output=True)
    command = [cmake, "--build", str(BUILD), "--target", goal, "--parallel", str(os.cpu_count() or 1)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
    return BUILD / goal
