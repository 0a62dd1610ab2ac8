"""Every row of this machine on every sample under AddressSanitizer and UBSan: no access outside."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.kernels.batch import jobs, listing
from tests.sanitized import sanitized

pytestmark = [pytest.mark.native, pytest.mark.slow]


def test_no_row_leaves_its_operands(tmp_path: Path) -> None:
    batch = jobs("host", tmp_path)
    path = listing(batch, tmp_path, tmp_path / "batch.txt")
    command = [sanitized("tiercast-run"), "--batch", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"after {len(lines)} of {len(batch)}: {done.stderr[-4000:]}"
    assert len(lines) == len(batch) and all(line.startswith("ok ") for line in lines)
