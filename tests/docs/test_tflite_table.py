"""docs/tflite.md lists what the importer translates."""

from __future__ import annotations

import subprocess
import sys

from tests.scratch import ROOT


def test_the_table_of_tflite_operators_is_current() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "tflite_table.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "| translated (" in (ROOT / "docs" / "tflite.md").read_text()
