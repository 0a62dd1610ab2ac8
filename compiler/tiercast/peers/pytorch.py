"""A model's PyTorch form, for the engines that convert from it."""

from __future__ import annotations

from collections.abc import Sequence
from types import MethodType
from typing import TYPE_CHECKING, Any

from tiercast.factory import find_factory
from tiercast.peers.subject import Arrays, Subject, read_calibration

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
    """The model quantized by a torchao quantizer in the PT2E flow, calibrated on the subject's samples."""
    import torch

    _, inputs = load_module(subject)
    samples = [tuple(map(torch.from_numpy, sample.values())) for sample in samples_of(subject)]
    module = quantize_module(load_program(subject).module(), quantizer, samples, fold=True)
    return torch.export.export(module, inputs, strict=False)


def quantize_module(module: Any, quantizer: Any, samples: Sequence[tuple[Any, ...]], fold: bool) -> Any:
    """An exported module with a quantizer's observers, run on samples, converted; fold: weights to integers,
    or left in f32 before steps that quantize them.
    """
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    prepared = prepare_pt2e(module, quantizer)
    with torch.no_grad():
        for sample in samples:
            prepared(*sample)
    return convert_pt2e(prepared, fold_quantize=fold)


def samples_of(subject: Subject) -> list[Arrays]:
    """What an int8 subject is quantized on."""
    assert subject.calibration is not None
    return read_calibration(subject.calibration)


def _open(source: str) -> Any:
    import torch

    return torch.export.load(source) if source.endswith(".pt2") else find_factory(source, "torch")()
