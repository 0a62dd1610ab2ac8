"""Which engines are there, and what is said when they are not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tiercast.errors import UsageError
from tiercast.peers.compare import pick_engines
from tiercast.peers.engines import NAMES, engine
from tiercast.peers.environment import Environment, how_to_install, pins, pins_of

BARE = """#!/bin/sh
exec "{python}" -S -I "$@"
"""


@pytest.fixture
def bare_python(tmp_path: Path) -> Path:
    """A Python without any installed package."""
    path = tmp_path / "python"
    path.write_text(BARE.format(python=sys.executable))
    path.chmod(0o755)
    return path


def test_without_any_peer_the_error_says_what_to_install(bare_python: Path) -> None:
    with pytest.raises(UsageError) as caught:
        pick_engines(NAMES, Environment(bare_python))
    text = str(caught.value)
    assert "openvino" in text and "pip install" in text and "--no-deps executorch==" in text


def test_a_missing_engine_among_others_is_only_told() -> None:
    there, sentence = pick_engines(["tiercast", "onnxruntime"], Environment())
    assert there == ["tiercast", "onnxruntime"] and not sentence


def test_an_unknown_engine_and_a_missing_python() -> None:
    with pytest.raises(UsageError, match="unknown; engines: tiercast, onnxruntime"):
        pick_engines(["tvm"], Environment())
    with pytest.raises(UsageError, match="no such Python; install"):
        Environment(Path("/nowhere/python"))


def test_a_program_that_is_no_python_is_refused() -> None:
    with pytest.raises(UsageError, match="no Python that works"):
        Environment(Path("/bin/false")).importable(["ncnn"])


@pytest.mark.parametrize("name", NAMES)
def test_every_engine_says_what_it_is_made_of(name: str) -> None:
    module = engine(name)
    assert module.MODULE and module.FILES
    assert len(pins_of(name)) == len(module.PACKAGES)
    assert all(pin in how_to_install([name]) for pin in pins_of(name))


def test_pins_are_exact() -> None:
    assert all("==" in pin for pin in pins()) and len(set(pins())) == len(pins())


def test_modules_are_lent_to_a_python_without_tiercast(bare_python: Path) -> None:
    """Without numpy the worker gets as far as importing that, from a package the Python does not have."""
    command = Environment(bare_python).command("ncnn", "tiercast.peers.worker")
    done = subprocess.run(command, capture_output=True, text=True)
    assert "No module named 'numpy'" in done.stderr
