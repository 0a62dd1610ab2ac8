"""The reference models in s8, by onnxruntime's static quantization: `build/models/<name>.s8.onnx`, made once.

Calibrated on random pictures: for what executes, not for accuracy. Weights symmetric for each channel,
activations s8 with a zero point, both as QDQ.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np

from . import zoo
from .export_onnx import CACHE, code_only, onnx_path, sources_key

MODELS = ("mobilenet_v2", "stories_seg_256", "portrait_seg", "landmark", "face_embed")
_PICTURES = 4
_KEY_PROPERTY = "quantized_from"


class Pictures:
    """onnxruntime's CalibrationDataReader: a few random inputs beside the model's example."""

    def __init__(self, name: str) -> None:
        """name: of a reference model."""
        self._left = _pictures(name)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Inputs by name, None at the end."""
        return next(self._left, None)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Part of the interface; not used for so few inputs."""
        raise NotImplementedError


def quantized_path(name: str) -> Path:
    """Path of the s8 QDQ form of a reference model; made if stale. ValueError for an unknown name."""
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    CalibrationDataReader.register(Pictures)
    source, path = onnx_path(name), CACHE / f"{name}.s8.onnx"
    key = hashlib.sha256(
        f"{sources_key(name)} {metadata.version('onnxruntime')}".encode() + code_only(Path(__file__))
    ).hexdigest()
    if path.exists():
        properties = onnx.load(path, load_external_data=False).metadata_props
        if any(entry.key == _KEY_PROPERTY and entry.value == key for entry in properties):
            return path
    logging.getLogger().setLevel(logging.ERROR)  # it recommends what has been done
    ready = CACHE / f"{name}.ready.onnx"
    quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
    quantize_static(
        str(ready), str(path), Pictures(name), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    ready.unlink()
    model = onnx.load(path)
    model.metadata_props.add(key=_KEY_PROPERTY, value=key)
    onnx.save(model, path)
    return path


def _pictures(name: str) -> Iterator[dict[str, np.ndarray]]:
    _, example = zoo.build(name)
    generator = np.random.default_rng(0)
    yield {key: value.numpy() for key, value in example.items()}
    for _ in range(_PICTURES - 1):
        yield {
            key: generator.uniform(float(value.min()), float(value.max()), value.shape).astype(np.float32)
            for key, value in example.items()
        }
