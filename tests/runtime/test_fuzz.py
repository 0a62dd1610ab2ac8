"""Hostile packages: 10 000 mutations, opened and run under AddressSanitizer and UBSan."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runtime.seeds import write_seeds
from tiercast.paths import room

ROOT = room("runtime").parent
BUILD = ROOT / "build" / "asan"
CASES = 10_000


def program() -> Path:
    """The fuzzer with every kernel of this machine, sanitized."""
    cmake = shutil.which("cmake") or str(Path(sys.executable).parent / "cmake")
    options = ["-DTIERCAST_SANITIZE=address,undefined", f"-DTIERCAST_PYTHON={sys.executable}"]
    if shutil.which("ninja"):
        options.append("-GNinja")
    subprocess.run([cmake, "-S", str(ROOT), "-B", str(BUILD), *options], check=True, capture_output=True)
    command = [
        cmake,
        "--build",
        str(BUILD),
        "--target",
        "fuzz_package",
        "--parallel",
        str(os.cpu_count() or 1),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return BUILD / "fuzz_package"


@pytest.mark.native
@pytest.mark.slow
def test_mutated_packages_are_refused_or_run_harmlessly(tmp_path: Path) -> None:
    if shutil.which("clang++-19") is None:
        pytest.skip("no clang++-19 with sanitizers; apt-get install clang-19")
    seeds = write_seeds(tmp_path)
    options = f"--seeds {tmp_path} --count {CASES} --seed 1 --max-seed-bytes 200000"
    done = subprocess.run([str(program()), *options.split()], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-6000:]
    result = json.loads(done.stdout)
    assert result["cases"] == CASES and result["seeds"] > seeds // 2
    # The mutations are worth their name only when a good part reaches binding, and some of it the kernels.
    assert result["refused_kernel"] > CASES // 20 and result["ran"] > CASES // 20
