"""Hostile packages: 10 000 mutations, opened and run under AddressSanitizer and UBSan."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.runtime.seeds import write_seeds
from tests.sanitized import sanitized
from tests.tiny_model import tiny_model, with_empty_ports
from tiercast.pipeline import compile

CASES = 10_000


@pytest.mark.native
@pytest.mark.slow
def test_mutated_packages_are_refused_or_run_harmlessly(tmp_path: Path) -> None:
    seeds = write_seeds(tmp_path)
    compile(tiny_model(), output=tmp_path / "buckets.tcpkg", inputs={"image": (1, 3, (8, 16), (16, 24))})
    compile(with_empty_ports(), output=tmp_path / "empties.tcpkg")
    options = f"--seeds {tmp_path} --count {CASES} --seed 1 --max-seed-bytes 200000"
    command = [sanitized("fuzz_package"), *options.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-6000:]
    result = json.loads(done.stdout)
    assert result["cases"] == CASES and result["seeds"] > seeds // 2
    # The mutations are worth their name only when a good part reaches binding, and some of it the kernels.
    assert result["refused_kernel"] > CASES // 20 and result["ran"] > CASES // 20
