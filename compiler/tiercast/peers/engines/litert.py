"""LiteRT (TensorFlow Lite) with XNNPACK, converted by litert-torch to N H W C inputs and outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tiercast.peers.engines import Array, Arrays, Subject
from tiercast.peers.pytorch import load_module
from tiercast.peers.subject import read_calibration

MODULE = "ai_edge_litert.interpreter"
PACKAGES = ("torch", "ai-edge-litert", "litert-torch")
FILES = ("model.tflite",)


def convert(subject: Subject, folder: Path) -> None:
    """PyTorch -> TFLite with channels last at the boundary, as the engine wants pictures; int8 by
    ai-edge-quantizer.
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
    samples = tuple(t.permute(0, 2, 3, 1).contiguous() if t.dim() == 4 else t for t in inputs)
    litert_torch.convert(wrapped.eval(), samples).export(str(folder / FILES[0]))
    if subject.calibration:
        _quantize(folder / FILES[0], read_calibration(subject.calibration))


def _quantize(path: Path, samples: list[Arrays]) -> None:
    """Writes the f32 model over as int8 with f32 inputs and outputs, weights by channel.

    Ranges are those of all samples; by itself the quantizer takes a moving average, which costs up to 12 dB.
    Of litert-torch 0.10's two flows this is the one that converts all of our models: its PT2E quantizer
    gives resizes and pads two scales, which its converter refuses.
    """
    from ai_edge_quantizer import qtyping, quantizer, recipe

    made = quantizer.Quantizer(str(path))
    made.load_quantization_recipe(recipe.static_wi8_ai8())
    for border in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        made.update_quantization_recipe(".*", border, algorithm_key="no_quantize")
    signature, names = _signature(path)
    ranges: dict[str, dict[str, Array]] = {}
    for sample in samples:
        given = dict(zip(names, map(_channels_last, sample.values()), strict=True))
        for tensor, seen in made.calibrate({signature: [given]}).items():
            so_far = ranges.setdefault(tensor, dict(seen))
            if "min" in seen:
                so_far["min"] = np.minimum(so_far["min"], seen["min"])
                so_far["max"] = np.maximum(so_far["max"], seen["max"])
    made.quantize(ranges).export_model(str(path), overwrite=True)


def _signature(path: Path) -> tuple[str, list[str]]:
    """Name of the model's signature and of its inputs, in the model's order."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    name = next(iter(interpreter.get_signature_list()))
    return name, sorted(interpreter.get_signature_runner(name).get_input_details())


def _channels_last(value: Array) -> Array:
    return np.ascontiguousarray(value.transpose(0, 2, 3, 1) if value.ndim == 4 else value)


class Engine:
    """The interpreter's tensors by index; the signature gives inputs and outputs in the model's order."""

    def __init__(self, folder: Path, inputs: Arrays, expected: Arrays, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(str(folder / FILES[0]), num_threads=threads)
        self._interpreter.allocate_tensors()
        runner = self._interpreter.get_signature_runner(next(iter(self._interpreter.get_signature_list())))
        slots = [detail["index"] for _, detail in sorted(runner.get_input_details().items())]
        values = [_channels_last(value) for value in inputs.values()]
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
