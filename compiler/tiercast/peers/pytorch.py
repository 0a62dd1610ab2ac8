"""A model's PyTorch form, for the engines that convert from it."""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any

from tiercast.factory import find_factory
from tiercast.peers.subject import Subject, read_calibration

if TYPE_CHECKING:
    import torch


def load_module(subject: Subject) -> tuple[torch.nn.Module, tuple[Any, ...]]:
    """(module, example inputs in order). RuntimeError where the model has no PyTorch form."""
    import torch

    if not subject.torch:
        raise RuntimeError(
            "it converts from PyTorch, and the model is an ONNX file; give a .pt2 file or file.py:factory"
        )
    made = _open(subject.torch)
    if isinstance(made, torch.export.ExportedProgram):
        module = made.module()
        # converters call eval() on what they wrap it in; a program, which is in no mode, refuses
        module.train = MethodType(lambda self, mode=True: self, module)  # type: ignore[method-assign]
        return module, tuple(made.example_inputs[0])
    module, example = made
    return module.eval(), tuple(example.values() if isinstance(example, dict) else example)


def load_program(subject: Subject) -> torch.export.ExportedProgram:
    """The model as PyTorch exports it."""
    import torch

    made = _open(subject.torch) if subject.torch else None
    if isinstance(made, torch.export.ExportedProgram):
        return made
    module, inputs = load_module(subject)
    return torch.export.export(module, inputs, strict=False)


def quantize_program(subject: Subject, quantizer: Any) -> torch.export.ExportedProgram:
    """The model quantized by a torchao quantizer by the PT2E flow, on the int8 subject's samples."""
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    assert subject.calibration is not None
    _, inputs = load_module(subject)
    prepared = prepare_pt2e(load_program(subject).module(), quantizer)
    with torch.no_grad():
        for sample in read_calibration(subject.calibration):
            prepared(*map(torch.from_numpy, sample.values()))
    return torch.export.export(convert_pt2e(prepared), inputs, strict=False)


def _open(source: str) -> Any:
    import torch

    return torch.export.load(source) if source.endswith(".pt2") else find_factory(source, "torch")()
