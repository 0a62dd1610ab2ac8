"""Keras nets converted by TensorFlow's own TFLite converter, in f32, f16 and int8; judged by LiteRT."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.zoo.subject import Made, Subject

_ROOT = Path(__file__).resolve().parents[2]
APPLICATIONS = (
    *(
        "MobileNet",
        "MobileNetV2",
        "MobileNetV3Small",
        "MobileNetV3Large",
        "EfficientNetB0",
        "EfficientNetV2B0",
    ),
    *("DenseNet121", "ResNet50V2", "InceptionV3", "NASNetMobile", "Xception", "ConvNeXtTiny"),
)
OWN = ("unet", "hourglass", "segmentation", "landmarks", "detection")
SEQUENCES = ("lstm", "bilstm", "gru")  # quantized ones keep 16-bit states, which are refused
OTHER_FORMS = (("MobileNetV2", "f16"), ("MobileNetV2", "uint8"), ("unet", "f16"), ("unet", "uint8"))


def subjects() -> list[Subject]:
    """Each net in f32 and, apart from sequences, in int8; some in f16 and with uint8 ports."""
    images = (*APPLICATIONS, *OWN)
    forms = [(net, form) for net in images for form in ("f32", "int8")]
    forms += [(net, "f32") for net in SEQUENCES] + list(OTHER_FORMS)
    return [
        Subject(
            f"tflite/{net.lower()}-{form}",
            partial(_made, net, form),
            kind="int8" if form in ("int8", "uint8") else "f32",
            channels_last=net not in SEQUENCES,
        )
        for net, form in forms
    ]


def _made(net: str, form: str, folder: Path) -> Made:
    path = folder / f"{net}.tflite"
    command = [sys.executable, "-m", "benchmarks.zoo.keras_to_tflite", net, form, str(path)]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{net} {form} can't be converted: {done.stderr[-2000:]}")
    with np.load(path.with_suffix(".npz")) as arrays:
        return Made(path, dict(arrays))
