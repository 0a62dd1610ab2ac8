"""The byte gate: it passes as things are, and says no when a library is over its budget."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tiercast.paths import room

TOOL = room("runtime").parent / "tools" / "size_gate.py"
pytestmark = [pytest.mark.qemu("linux-arm64"), pytest.mark.slow]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(TOOL), *arguments], capture_output=True, text=True)


def test_the_aarch64_libraries_are_within_their_budgets() -> None:
    done = run("--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0, report
    assert 0 < report["runtime_bytes"] < report["full_bytes"]
    assert report["kernels"]["conv2d"] > 0


def test_a_library_over_its_budget_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOL.parent))
    import size_gate

    monkeypatch.setattr(size_gate, "budgets", lambda target: {"runtime_bytes": 10, "full_bytes": 10**9})
    monkeypatch.setattr(sys, "argv", ["size_gate.py", "--json"])
    assert size_gate.main() == 1


def test_a_target_without_a_budget_is_named() -> None:
    assert "no budget for 'host'" in run("--target", "host").stderr
