"""The small model as a file, and its package."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from tiny_model import SHAPE, tiny_model

from tiercast.cli import call


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny.onnx with open height and width."""
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    onnx.save(tiny_model(), path)
    return path


@pytest.fixture(scope="session")
def package(model: Path) -> Path:
    """Its package for this machine, 16 by 16 pixels."""
    path = model.with_name("tiny.tcpkg")
    assert call(["compile", str(model), "-o", str(path), "--input", SHAPE, "--json"]) == 0
    return path
