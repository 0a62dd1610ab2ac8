"""docs/ops.md is what the registries say."""

from __future__ import annotations

import subprocess
import sys

from tests.scratch import ROOT


def test_the_table_of_ops_is_current() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "ops_table.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "| Conv2d | Conv |" in (ROOT / "docs" / "ops.md").read_text()
