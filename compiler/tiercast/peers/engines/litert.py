"""LiteRT (TensorFlow Lite) with XNNPACK, converted by litert-torch to N H W C inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tiercast.peers.engines import Array, Arrays, Subject
from tiercast.peers.pytorch import load_module, quantize_module, samples_of

if TYPE_CHECKING:
    import torch

MODULE = "ai_edge_litert.interpreter"
PACKAGES = ("torch", "ai-edge-litert", "litert-torch")
FILES = ("model.tflite",)


def convert(subject: Subject, folder: Path) -> None:
    """PyTorch -> TFLite with channels last at the boundary, as the engine wants pictures; int8 by its PT2E
    quantizer, weights by channel.
    """
    import litert_torch
    import torch

    module, inputs = load_module(subject)
    with torch.no_grad():
        result = module(*inputs)
    results = result if isinstance(result, tuple) else (result,)
    wrapped = litert_torch.to_channel_last_io(
        module,
        args=[index for index, tensor in enumerate(inputs) if tensor.dim() == 4],
        outputs=[index for index, tensor in enumerate(results) if tensor.dim() == 4],
    )
    wrapped.eval()
    if subject.calibration:
        _convert_int8(wrapped, subject, folder)
    else:
        litert_torch.convert(wrapped, _channels_last(inputs)).export(str(folder / FILES[0]))


def _convert_int8(module: Any, subject: Subject, folder: Path) -> None:
    import litert_torch
    import torch
    from litert_torch.quantize import pt2e_quantizer, quant_config

    scheme = pt2e_quantizer.get_symmetric_quantization_config(is_per_channel=True)
    quantizer = pt2e_quantizer.PT2EQuantizer().set_global(scheme)
    samples = [_channels_last(map(torch.from_numpy, sample.values())) for sample in samples_of(subject)]
    exported = torch.export.export(module, samples[0], strict=False).module()
    quantized = quantize_module(exported, quantizer, samples, fold=False)
    config = quant_config.QuantConfig(pt2e_quantizer=quantizer)
    litert_torch.convert(quantized, samples[0], quant_config=config).export(str(folder / FILES[0]))


def _channels_last(tensors: Iterable[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    return tuple(t.permute(0, 2, 3, 1).contiguous() if t.dim() == 4 else t for t in tensors)


class Engine:
    """The interpreter's tensors by index; the signature gives inputs and outputs in the model's order."""

    def __init__(self, folder: Path, inputs: Arrays, expected: Arrays, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(str(folder / FILES[0]), num_threads=threads)
        self._interpreter.allocate_tensors()
        runner = self._interpreter.get_signature_runner(next(iter(self._interpreter.get_signature_list())))
        slots = [detail["index"] for _, detail in sorted(runner.get_input_details().items())]
        values = [
            np.ascontiguousarray(v.transpose(0, 2, 3, 1) if v.ndim == 4 else v) for v in inputs.values()
        ]
        self._inputs = list(zip(slots, values, strict=True))
        self._slots = [detail["index"] for _, detail in sorted(runner.get_output_details().items())]
        self._names = list(expected)
        self._results: list[Array] = []

    def __call__(self) -> None:
        for slot, value in self._inputs:
            self._interpreter.set_tensor(slot, value)
        self._interpreter.invoke()
        self._results = [self._interpreter.get_tensor(slot) for slot in self._slots]

    def outputs(self) -> Arrays:
        """Back to N C H W."""
        first = [value.transpose(0, 3, 1, 2) if value.ndim == 4 else value for value in self._results]
        return dict(zip(self._names, first, strict=True))
