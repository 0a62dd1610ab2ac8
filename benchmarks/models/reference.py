"""What PyTorch answers: example inputs and expected outputs of a reference model, as numpy arrays by name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .export_onnx import CACHE, sources_key

Arrays = dict[str, NDArray[np.float32]]


def read_reference(name: str) -> tuple[Arrays, Arrays]:
    """(inputs, expected outputs) stored by `write_reference`; needs no torch."""
    with np.load(_path(name)) as stored:
        arrays = {key: stored[key] for key in stored.files}
    return _under(arrays, "in:"), _under(arrays, "out:")


def write_reference(name: str) -> tuple[Arrays, Arrays]:
    """Runs PyTorch (f32, eager) unless the stored answer is current; returns (inputs, expected)."""
    key = sources_key(name)
    if _path(name).exists():
        with np.load(_path(name)) as stored:
            if str(stored["key"]) == key:
                return read_reference(name)
    _run(name, key)
    return read_reference(name)


def max_relative_error(got: NDArray[np.generic], expected: NDArray[np.float32]) -> float:
    """max|got - expected| / max|expected|; infinite where a value is not finite or the size differs."""
    if got.size != expected.size or not np.isfinite(got).all():
        return float("inf")
    difference = np.abs(got.reshape(-1).astype(np.float64) - expected.reshape(-1)).max()
    return float(difference / max(float(np.abs(expected).max()), 1e-12))


def _path(name: str) -> Path:
    return CACHE / name / "reference.npz"


def _under(arrays: Arrays, prefix: str) -> Arrays:
    return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}


def _run(name: str, key: str) -> None:
    import torch

    from . import zoo

    module, inputs = zoo.build(name)
    with torch.no_grad():
        result = module(*inputs.values())
    outputs = result if isinstance(result, tuple) else (result,)
    arrays = {f"in:{k}": v.numpy() for k, v in inputs.items()}
    arrays |= {f"out:{k}": v.numpy() for k, v in zip(zoo.ENTRIES[name].outputs, outputs, strict=True)}
    _path(name).parent.mkdir(parents=True, exist_ok=True)
    part = _path(name).with_suffix(f".{os.getpid()}.npz")
    np.savez(part, key=np.array(key), **arrays)
    part.replace(_path(name))
