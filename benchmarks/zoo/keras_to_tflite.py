"""`python -m benchmarks.zoo.keras_to_tflite NET FORM PATH`: a Keras net as .tflite, inputs beside it as .npz.

FORM: f32, f16 (weights), int8, uint8 (int8 within).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import layers

SIZES = {
    "InceptionV3": 160,
    "Xception": 96,
    "NASNetMobile": 96,
    "MobileNetV2": 96,
    "ResNet50V2": 96,
    "DenseNet121": 96,
}
SIZE = 64
IN_PIXELS = ("MobileNetV3Small", "MobileNetV3Large", "EfficientNetB0", "EfficientNetV2B0", "ConvNeXtTiny")


def main(net: str, form: str, path: Path) -> None:
    """Builds, draws weights, calibrates, converts, writes."""
    keras.utils.set_random_seed(1)
    model = build(net)
    random = np.random.default_rng(0)
    draw_weights(model, random)
    pictures = [_example(model, net, random) for _ in range(8)]
    settle_statistics(model, np.concatenate(pictures))
    data = convert(model, form, pictures[1:])
    path.write_bytes(data)
    write_inputs(data, pictures[0], path.with_suffix(".npz"))


def build(net: str) -> keras.Model:
    """The net without weights, batch 1; classifiers end in logits."""
    if net in _OWN:
        return _OWN[net]()
    size = SIZES.get(net, SIZE)
    made = getattr(keras.applications, net)(
        input_shape=(size, size, 3), weights=None, classes=40, classifier_activation=None
    )
    port = keras.Input((size, size, 3), batch_size=1)
    return keras.Model(port, made(port))


def draw_weights(model: keras.Model, random: np.random.Generator) -> None:
    """Kernels that keep the variance of activations (He et al. 2015); norms, biases as they usually are."""
    for weight in model.weights:
        name, dims = weight.path.rsplit("/", 1)[-1], tuple(weight.shape)
        if name in ("gamma", "alpha"):
            array = random.uniform(0.7, 1.3, dims) if name == "gamma" else random.uniform(0.1, 0.4, dims)
        elif name in ("beta", "bias"):
            array = 0.1 * random.standard_normal(dims)
        elif "kernel" in name:
            fan = (
                np.prod(dims[:-1])
                if "depthwise" not in name and "depthwise" not in weight.path
                else np.prod(dims[:2])
            )
            array = random.standard_normal(dims) * np.sqrt(1.6 / max(fan, 1))
        else:
            continue
        weight.assign(array.astype(np.float32))


def settle_statistics(model: keras.Model, pictures: np.ndarray) -> None:
    """Moving means and variances become those of `pictures`, so that no activation dies or explodes."""
    norms = [layer for layer in _all_layers(model) if isinstance(layer, layers.BatchNormalization)]
    for layer in norms:
        layer.momentum = 0.0
    if norms:
        model(pictures, training=True)


def convert(model: keras.Model, form: str, examples: list[np.ndarray]) -> bytes:
    """The model's .tflite in `form`; int8 is calibrated on the examples."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if form == "f16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    elif form in ("int8", "uint8"):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([item] for item in examples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        kind = tf.int8 if form == "int8" else tf.uint8
        converter.inference_input_type = converter.inference_output_type = kind
    return bytes(converter.convert())


def write_inputs(data: bytes, picture: np.ndarray, path: Path) -> None:
    """The picture as the file wants it, by the name that Tiercast gives the port."""
    from tiercast.frontend.tflite_ops.file import read_file
    from tiercast.frontend.tflite_ops.ports import input_ports

    (port,) = input_ports(read_file(data))
    detail = tf.lite.Interpreter(model_content=data).get_input_details()[0]
    scale, zero = detail["quantization"]
    array = picture
    if scale:
        info = np.iinfo(detail["dtype"])
        array = np.clip(np.rint(picture / scale) + zero, info.min, info.max).astype(detail["dtype"])
    np.savez(path, **{port.name: array})


def _example(model: keras.Model, net: str, random: np.random.Generator) -> np.ndarray:
    """Noise of some grain, contrast and brightness: -1..1, or 0..255 for nets that scale it themselves.

    Pictures that were alike would leave batch norms nothing but small differences to enlarge.
    """
    dims = (1, *model.inputs[0].shape[1:])
    if len(dims) < 4:
        return random.uniform(-1, 1, dims).astype(np.float32)
    grain = int(random.choice([2, 4, 8, 16]))
    small = random.uniform(-1, 1, (1, dims[1] // grain, dims[2] // grain, dims[3]))
    large = np.repeat(np.repeat(small, grain, axis=1), grain, axis=2)
    light = random.uniform(-0.4, 0.4, (1, 1, 1, dims[3]))
    picture = np.clip(large * random.uniform(0.2, 0.9) + light + random.uniform(-0.1, 0.1, dims), -1, 1)
    return (picture * 127.5 + 127.5 if net in IN_PIXELS else picture).astype(np.float32)


def _all_layers(model: keras.Model) -> Iterator[Any]:
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _all_layers(layer)


def _conv(x: Any, channels: int, stride: int = 1) -> Any:
    x = layers.Conv2D(channels, 3, stride, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def _separable(x: Any, channels: int, stride: int = 1) -> Any:
    x = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    return layers.BatchNormalization()(layers.Conv2D(channels, 1, use_bias=False)(x))


def unet() -> keras.Model:
    """Transposed convolutions up, skips by concatenation."""
    x = port = keras.Input((64, 64, 3), batch_size=1)
    skips = []
    for channels in (16, 24, 32):
        x = _conv(x, channels)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = _conv(x, 48)
    for channels, skip in zip((32, 24, 16), reversed(skips), strict=True):
        x = layers.Conv2DTranspose(channels, 2, 2, padding="same")(x)
        x = _conv(layers.Concatenate()([x, skip]), channels)
    return keras.Model(port, layers.Conv2D(2, 1)(x))


def hourglass() -> keras.Model:
    """Nearest-neighbour enlargements and sums."""
    x = port = keras.Input((64, 64, 3), batch_size=1)
    x = _conv(x, 24, 2)
    stages = []
    for _ in range(3):
        stages.append(_separable(x, 24))
        x = _separable(x, 24, 2)
    for stage in reversed(stages):
        x = layers.Add()([layers.UpSampling2D()(_separable(x, 24)), stage])
    return keras.Model(port, layers.Conv2D(8, 1, activation="sigmoid")(x))


def segmentation() -> keras.Model:
    """Dilated convolutions, pooled context and bilinear resizing, as DeepLab's and LR-ASPP's heads."""
    x = port = keras.Input((64, 64, 3), batch_size=1)
    low = _separable(_conv(x, 16, 2), 24)
    x = _separable(low, 40, 2)
    wide = layers.ReLU()(layers.Conv2D(40, 3, dilation_rate=2, padding="same")(x))
    context = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(40, 1, activation="hard_sigmoid")(context)
    x = layers.Multiply()([wide, gate])
    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    x = layers.Add()([layers.Conv2D(8, 1)(x), layers.Conv2D(8, 1)(low)])
    return keras.Model(port, layers.UpSampling2D(2, interpolation="bilinear")(x))


def landmarks() -> keras.Model:
    """PReLU, residuals whose shortcut pads channels, two heads, as face meshes are."""
    x = port = keras.Input((64, 64, 3), batch_size=1)
    x = layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(16, 3, 2, padding="same")(x))
    for channels in (16, 32, 64):
        for stride in (2, 1):
            y = layers.Conv2D(channels, 1)(layers.DepthwiseConv2D(3, stride, padding="same")(x))
            short = layers.MaxPooling2D()(x) if stride == 2 else x
            missing = channels - short.shape[-1]
            if missing:
                short = keras.ops.pad(short, [[0, 0], [0, 0], [0, 0], [0, missing]])
            x = layers.PReLU(shared_axes=[1, 2])(layers.Add()([y, short]))
    points = layers.Reshape((-1, 3))(layers.Conv2D(96, 4)(x))
    face = layers.Flatten()(layers.Conv2D(1, 4)(x))
    return keras.Model(port, [points, face])


def detection() -> keras.Model:
    """Two levels of boxes and scores, reshaped and joined, as SSD's and BlazeFace's heads are."""
    x = port = keras.Input((64, 64, 3), batch_size=1)
    x = _separable(_conv(x, 24, 2), 32, 2)
    levels = [x, _separable(x, 48, 2)]
    boxes = [layers.Reshape((-1, 4))(layers.Conv2D(8, 1)(level)) for level in levels]
    scores = [layers.Reshape((-1, 5))(layers.Conv2D(10, 1)(level)) for level in levels]
    joined = [layers.Concatenate(axis=1)(boxes), layers.Concatenate(axis=1)(scores)]
    return keras.Model(port, [joined[0], layers.Activation("sigmoid")(joined[1])])


def _sequence(*stack: Any) -> keras.Model:
    x = port = keras.Input((12, 10), batch_size=1)
    for layer in stack:
        x = layer(x)
    return keras.Model(port, layers.Dense(6)(x))


_OWN = {
    "unet": unet,
    "hourglass": hourglass,
    "segmentation": segmentation,
    "landmarks": landmarks,
    "detection": detection,
    "lstm": lambda: _sequence(layers.LSTM(16, return_sequences=True), layers.LSTM(8)),
    "bilstm": lambda: _sequence(layers.Bidirectional(layers.LSTM(8, return_sequences=True))),
    "gru": lambda: _sequence(layers.GRU(16, return_sequences=True)),
}

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
