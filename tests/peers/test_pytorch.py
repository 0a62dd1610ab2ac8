"""A model's PyTorch form as converters want it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tiercast.peers.pytorch import load_module, load_program
from tiercast.peers.subject import Subject


class Scale(torch.nn.Module):
    """x * 2"""

    def forward(self, x):  # type: ignore[no-untyped-def]
        """x: any shape."""
        return x * 2


def factory():  # type: ignore[no-untyped-def]
    """The module with its example inputs by name."""
    return Scale(), {"x": torch.ones(3)}


def _subject(source: str) -> Subject:
    return Subject("scale", Path(), Path(), source, 0)


def test_a_saved_program_can_be_wrapped_and_told_to_evaluate(tmp_path: Path) -> None:
    path = tmp_path / "scale.pt2"
    torch.export.save(torch.export.export(Scale().eval(), (torch.ones(3),)), path)
    module, inputs = load_module(_subject(str(path)))
    assert torch.nn.Sequential(module).eval()(*inputs).tolist() == [2, 2, 2]
    assert load_program(_subject(str(path))).module()(*inputs).tolist() == [2, 2, 2]


def test_a_factory_gives_its_inputs_in_order() -> None:
    source = f"{__file__}:factory"
    module, inputs = load_module(_subject(source))
    assert module(*inputs).tolist() == [2, 2, 2]
    assert load_program(_subject(source)).module()(*inputs).tolist() == [2, 2, 2]


def test_an_onnx_model_has_none() -> None:
    with pytest.raises(RuntimeError, match=r"\.pt2"):
        load_module(_subject(""))
    with pytest.raises(RuntimeError, match=r"\.pt2"):
        load_program(_subject(""))
