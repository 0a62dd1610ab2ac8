"""`import tiercast` is cheap and brings no framework; modules import downwards only."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scratch import copy_tree, environment

HEAVY = {"torch", "tensorflow", "tvm", "onnxruntime", "onnx", "onnxsim"}
SCRIPT = """
import json, sys, time
started = time.process_time()
import {module}
print(json.dumps([time.process_time() - started, sorted(name for name in sys.modules if "." not in name)]))
"""


def import_cost(module: str) -> tuple[float, set[str]]:
    """CPU seconds of an import in a new interpreter (least of five), and what top-level modules it brings."""
    runs = []
    for _ in range(5):
        command = [sys.executable, "-c", SCRIPT.format(module=module)]
        runs.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    return min(seconds for seconds, _ in runs), set(runs[0][1])


def test_import_is_quick_and_needs_no_framework() -> None:
    seconds, modules = import_cost("tiercast")
    assert seconds < 0.3
    assert not modules & HEAVY


@pytest.mark.parametrize("module", ["tiercast.target", "tiercast.kernel", "tiercast.codegen.render"])
def test_the_build_step_needs_no_framework(module: str) -> None:
    assert not import_cost(module)[1] & (HEAVY | {"numpy"})


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / "lint-imports"
    if not program.exists():
        pytest.skip("lint-imports is missing: pip install import-linter")
    return subprocess.run(
        [program, "--no-cache"], cwd=folder, env=environment(folder), capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("novelty.py", "", "novelty"),
        (
            "errors.py",
            "from tiercast import kernel\n",
            "tiercast.errors is not allowed to import tiercast.kernel",
        ),
        ("target.py", "import torch\n", "tiercast is not allowed to import torch"),
    ],
)
def test_layers_refuse_what_has_no_place(tmp_path: Path, file: str, text: str, message: str) -> None:
    copy_tree(tmp_path, "compiler", ".importlinter")
    with (tmp_path / "compiler" / "tiercast" / file).open("a") as made:
        made.write(text)
    done = lint(tmp_path)
    assert done.returncode == 1 and message in done.stdout


def test_layers_hold(tmp_path: Path) -> None:
    copy_tree(tmp_path, "compiler", ".importlinter")
    done = lint(tmp_path)
    assert done.returncode == 0, done.stdout
