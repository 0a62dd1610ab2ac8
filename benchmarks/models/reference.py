"""What PyTorch answers: example inputs and expected outputs of a reference model, as numpy arrays by name."""

from __future__ import annotations

from tiercast.peers.subject import Arrays, Subject, read_reference
from tiercast.peers.subject import write_reference as store

from . import zoo
from .export_onnx import CACHE, onnx_path, sources_key


def write_reference(name: str) -> tuple[Arrays, Arrays]:
    """Runs PyTorch (f32, eager) unless the stored answer is current; returns (inputs, expected)."""
    folder, key = CACHE / name, sources_key(name)
    if (folder / "reference.npz").exists():
        inputs, expected, stored = read_reference(folder)
        if stored == key:
            return inputs, expected
    inputs, expected = _run(name)
    store(folder, inputs, expected, key)
    return inputs, expected


def subject(name: str) -> Subject:
    """A reference model as a subject of the comparison with other engines; exports and runs what is stale."""
    onnx = onnx_path(name)
    write_reference(name)
    made = Subject(name, CACHE / name, onnx, f"{zoo.__name__}:{name}", zoo.macs(name))
    made.write_facts()
    return made


def _run(name: str) -> tuple[Arrays, Arrays]:
    import torch

    module, inputs = zoo.build(name)
    with torch.no_grad():
        result = module(*inputs.values())
    outputs = result if isinstance(result, tuple) else (result,)
    expected = {key: value.numpy() for key, value in zip(zoo.ENTRIES[name].outputs, outputs, strict=True)}
    return {key: value.numpy() for key, value in inputs.items()}, expected
