"""The reference models as int8 subjects of the comparison with other engines.

Each is quantized once, by `tiercast.quantize.post_training` on seeded inputs of the kind that the model's
example is (not the example itself, on which the engines are judged). The engines that read ONNX get that
file; those that quantize by a flow of their own get the same inputs.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from tiercast.frontend import reference
from tiercast.peers.subject import (
    Arrays,
    Subject,
    read_reference,
    signal_to_noise_db,
    write_calibration,
)
from tiercast.peers.subject import write_reference as store
from tiercast.quantize import post_training

from . import zoo
from .export_onnx import CACHE, REPOSITORY, code_only, onnx_path, sources_key
from .reference import write_reference
from .seeding import generator_for

MODELS = ("mobilenet_v2", "stories_seg_256", "portrait_seg", "landmark", "face_embed")
SAMPLES = 8
MARGIN_DB = 6.0
"""By how much noisier than the quantized file an engine's outputs may be: twice the noise's amplitude."""
LEAST_DB = 10.0
"""Outputs noisier than this are wrong, whatever the file's own are."""


def int8_subject(name: str) -> Subject:
    """A reference model in int8; quantizes and runs what is stale. ValueError for an unknown name.

    `bound_db` follows from the noise of the quantized file itself, as onnxruntime computes it without
    optimisations: no engine that computes what the file says is out, and none that saves time by being less
    exact counts.
    """
    inputs, expected = write_reference(name)
    folder, source, key = CACHE / f"{name}.int8", onnx_path(name), _key(name)
    quantized, samples = folder / "model.onnx", folder / "calibration.npz"
    if not quantized.exists() or read_reference(folder)[2] != key:
        drawn = calibration(name)
        write_calibration(samples, drawn)
        post_training(str(source), drawn, quantized)
        store(folder, inputs, expected, key)
    got = reference(str(quantized))[1](inputs)
    noise = min(signal_to_noise_db(a, b) for a, b in zip(got, expected.values(), strict=True))
    made = Subject(
        name, folder, quantized, f"{zoo.__name__}:{name}", zoo.macs(name), samples,
        max(LEAST_DB, noise - MARGIN_DB),
    )  # fmt: skip
    made.write_facts()
    return made


def calibration(name: str) -> list[Arrays]:
    """Seeded inputs of a reference model, by name."""
    draws = (zoo.ENTRIES[name].inputs(generator_for(f"{name}/quantize{at}")) for at in range(SAMPLES))
    return [{key: np.ascontiguousarray(value.numpy()) for key, value in draw.items()} for draw in draws]


def _key(name: str) -> str:
    """Of the model and of what quantizes it."""
    digest = hashlib.sha256(sources_key(name).encode() + code_only(Path(__file__)))
    for file in sorted((REPOSITORY / "compiler" / "tiercast" / "quantize").glob("*.py")):
        digest.update(code_only(file))
    return digest.hexdigest()
