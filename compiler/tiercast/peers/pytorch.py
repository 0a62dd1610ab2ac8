"""A model's PyTorch form, for the engines that convert from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiercast.factory import find_factory
from tiercast.peers.subject import Subject

if TYPE_CHECKING:
    import torch


def load_module(subject: Subject) -> tuple[torch.nn.Module, tuple[Any, ...]]:
    """(module, example inputs in order). RuntimeError where the model has no PyTorch form."""
    import torch

    if not subject.torch:
        raise RuntimeError(
            "it converts from PyTorch, and the model is an ONNX file; give a .pt2 file or file.py:factory"
        )
    if subject.torch.endswith(".pt2"):
        program = torch.export.load(subject.torch)
        return program.module(), tuple(program.example_inputs[0])
    made = find_factory(subject.torch, "torch")()
    if isinstance(made, torch.export.ExportedProgram):
        return made.module(), tuple(made.example_inputs[0])
    module, example = made
    return module.eval(), tuple(example.values() if isinstance(example, dict) else example)


def load_program(subject: Subject) -> torch.export.ExportedProgram:
    """The model as PyTorch exports it."""
    import torch

    if subject.torch.endswith(".pt2"):
        return torch.export.load(subject.torch)
    module, inputs = load_module(subject)
    return torch.export.export(module, inputs, strict=False)
