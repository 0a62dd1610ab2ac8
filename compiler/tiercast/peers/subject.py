"""A model under comparison: a folder with its facts, inputs, expected outputs, and each engine's files."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Arrays = dict[str, Array]
_FACTS = "subject.json"
_REFERENCE = "reference.npz"


@dataclass(frozen=True)
class Subject:
    """One model.

    onnx: its ONNX file. torch: where its PyTorch form is (a .pt2 file, "module:factory" or
    "file.py:factory"), empty where there is none: then the engines that convert from PyTorch can't take part.
    macs: multiply-accumulates of one run.
    calibration: of an int8 subject, the samples (`write_calibration`) that it is quantized on; `onnx` is the
    quantized file then, and engines that convert from PyTorch quantize on the samples.
    bound_db: of an int8 subject, the least signal-to-noise ratio of an engine that counts.
    """

    name: str
    folder: Path
    onnx: Path
    torch: str
    macs: int
    calibration: Path | None = None
    bound_db: float | None = None

    @property
    def precision(self) -> str:
        """What engines compute in."""
        return "int8" if self.calibration else "f32"

    def write_facts(self) -> None:
        """Stores the facts in the folder for `read_subject`; `write_reference` stores the arrays."""
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f"subject.{os.getpid()}.json"
        part.write_text(json.dumps(asdict(self), default=str, indent=1))
        part.replace(self.folder / _FACTS)

    def engine_folder(self, engine: str) -> Path:
        """Where the files of one engine lie."""
        return self.folder / engine

    def digest(self) -> str:
        """Changes with the model, and with what it is quantized on."""
        samples = self.calibration.read_bytes() if self.calibration else b""
        return hashlib.sha256(self.onnx.read_bytes() + samples).hexdigest()


def read_subject(folder: Path) -> Subject:
    """What `write_facts` stored."""
    facts = json.loads((folder / _FACTS).read_text())
    paths = {key: Path(facts[key]) for key in ("folder", "onnx", "calibration") if facts[key]}
    return Subject(**facts | paths)


def write_reference(folder: Path, inputs: Arrays, expected: Arrays, key: str) -> None:
    """Stores inputs and expected outputs, by name in the model's order; `key`: what they are made from."""
    arrays = {f"in:{name}": value for name, value in inputs.items()}
    arrays |= {f"out:{name}": value for name, value in expected.items()}
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"reference.{os.getpid()}.npz"
    np.savez(part, key=np.array(key), **arrays)  # type: ignore[arg-type]
    part.replace(folder / _REFERENCE)


def read_reference(folder: Path) -> tuple[Arrays, Arrays, str]:
    """(inputs, expected outputs, key) of `write_reference`."""
    with np.load(folder / _REFERENCE) as stored:
        arrays = {name: stored[name] for name in stored.files}
    return _under(arrays, "in:"), _under(arrays, "out:"), str(arrays["key"])


def write_calibration(path: Path, samples: Sequence[Arrays]) -> None:
    """Stores samples, each with the model's inputs by name, in the model's order."""
    arrays = {f"{at}:{name}": value for at, sample in enumerate(samples) for name, value in sample.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.npz")
    np.savez(part, **arrays)  # type: ignore[arg-type]
    part.replace(path)


def read_calibration(path: Path) -> list[Arrays]:
    """What `write_calibration` stored."""
    samples: dict[str, Arrays] = {}
    with np.load(path) as stored:
        for key in stored.files:
            at, _, name = key.partition(":")
            samples.setdefault(at, {})[name] = stored[key]
    return list(samples.values())


def signal_to_noise_db(got: Array, expected: Array) -> float:
    """Power of `expected` over that of the difference, in dB; infinite where they are equal, minus infinity
    where a value is not finite or the size differs.
    """
    if got.size != expected.size or not np.isfinite(got).all():
        return -math.inf
    exact = expected.reshape(-1).astype(np.float64)
    noise = float(np.square(got.reshape(-1) - exact).sum())
    signal = float(np.square(exact).sum())
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf


def max_relative_error(got: Array, expected: Array) -> float:
    """max|got - expected| / max|expected|; infinite where a value is not finite or the size differs."""
    if got.size != expected.size or not np.isfinite(got).all():
        return float("inf")
    difference = np.abs(got.reshape(-1).astype(np.float64) - expected.reshape(-1)).max()
    return float(difference / max(float(np.abs(expected).max()), 1e-12))


def _under(arrays: Arrays, prefix: str) -> Arrays:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
