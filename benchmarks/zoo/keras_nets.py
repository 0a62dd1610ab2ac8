"""Keras: the applications' own definitions, and small nets of what they lack, with random weights.

A random deep net lets activations die out or blow up. So the batch norms' moving statistics are those of a
forward pass, as training would leave them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.zoo.subject import Made, Subject

# Name in keras.applications and the input's size.
APPLICATIONS = {
    "MobileNet": 128,
    "MobileNetV2": 128,
    "MobileNetV3Small": 128,
    "MobileNetV3Large": 128,
    "EfficientNetB0": 128,
    "EfficientNetV2B0": 128,
    "DenseNet121": 96,
    "ResNet50": 96,
    "ResNet50V2": 96,
    "InceptionV3": 139,
    "Xception": 96,
    "NASNetMobile": 96,
    "VGG16": 64,
    "ConvNeXtTiny": 64,
    "InceptionResNetV2": 96,
}


def subjects() -> list[Subject]:
    """Keras' applications as .keras files and SavedModels, and own nets; judged by TensorFlow."""
    names = [*(f"{name}" for name in APPLICATIONS), *BUILDERS]
    found = [
        Subject(f"keras/{name}", partial(_made, name, "keras"), channels_last=name not in SEQUENCES)
        for name in names
    ]
    found += [
        Subject(f"saved_model/{name}", partial(_made, name, "folder"), channels_last=True)
        for name in ("MobileNetV3Small", "unet")
    ]
    return found


def _made(name: str, form: str, folder: Path) -> Made:
    """Builds the net in a process of its own, since TensorFlow and PyTorch share none here."""
    path = folder / (f"{name}.keras" if form == "keras" else name)
    command = [sys.executable, "-m", "benchmarks.zoo.keras_nets", name, str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name} could not be built: {done.stderr[-2000:]}")
    shapes = json.loads(done.stdout.splitlines()[-1])
    return Made(path, shapes={port: tuple(dims) for port, dims in shapes.items()})


# -- what follows runs where tensorflow is imported


def unet() -> Any:
    """Four levels, transposed convolutions and nearest-neighbour UpSampling2D."""
    from keras import Input, Model, layers

    def block(x: Any, width: int) -> Any:
        for _ in range(2):
            x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization()(x))
        return x

    image = Input((64, 96, 3), name="image")
    x, levels = image, []
    for width in (8, 16, 32):
        levels.append(block(x, width))
        x = layers.MaxPooling2D()(levels[-1])
    x = block(x, 48)
    for level, width in zip(reversed(levels), (32, 16, 8), strict=True):
        if width == 16:
            x = layers.Conv2DTranspose(width, 3, strides=2, padding="same")(x)
        else:
            x = layers.Conv2D(width, 3, padding="same")(layers.UpSampling2D()(x))
        x = block(layers.Concatenate()([x, level]), width)
    return Model(image, layers.Conv2D(1, 1, activation="sigmoid", name="mask")(x))


def aspp() -> Any:
    """Dilated convolutions side by side, separable ones and bilinear enlargement, as DeepLab has them."""
    from keras import Input, Model, layers

    image = Input((65, 65, 3), name="image")
    x = layers.Conv2D(16, 3, strides=2, padding="same", activation="swish")(image)
    low = x = layers.SeparableConv2D(24, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.SeparableConv2D(32, 3, strides=2, padding="same", activation="leaky_relu")(x)
    branches = [layers.Conv2D(16, 1, activation="relu")(x)]
    for rate in (2, 4, 6):
        y = layers.DepthwiseConv2D(3, padding="same", dilation_rate=rate)(x)
        branches.append(layers.Conv2D(16, 1, activation="relu")(layers.BatchNormalization()(y)))
    pooled = layers.GlobalAveragePooling2D(keepdims=True)(x)
    pooled = layers.Conv2D(16, 1, activation="relu")(pooled)
    branches.append(layers.UpSampling2D(9, interpolation="bilinear")(pooled))
    x = layers.Conv2D(24, 1, activation="relu")(layers.Concatenate()(branches))
    x = layers.Resizing(17, 17, interpolation="bilinear")(x)
    x = layers.Conv2D(24, 3, padding="same", activation="elu")(layers.Add()([x, low]))
    x = layers.Conv2D(4, 1)(x)
    return Model(image, layers.Resizing(65, 65, interpolation="bilinear", name="classes")(x))


def attention() -> Any:
    """Patches, two transformer blocks with exact gelu, layer norm and EinsumDense, and a head."""
    from keras import Input, Model, layers

    image = Input((32, 32, 3), name="image")
    x = layers.Reshape((64, 32))(layers.Conv2D(32, 4, strides=4)(image))
    for _ in range(2):
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        x = layers.Add()([x, layers.MultiHeadAttention(4, 8)(y, y)])
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        y = layers.Dense(32)(layers.Dense(64, activation="gelu")(y))
        x = layers.Add()([x, y])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return Model(image, layers.Dense(10, name="classes")(x))


def detector() -> Any:
    """Three scales with heads for boxes and scores, flattened and joined, as SSD and its heirs have them."""
    from keras import Input, Model, layers

    image = Input((96, 96, 3), name="image")
    x = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu6")(image)
    boxes, scores = [], []
    for width in (24, 32, 48):
        x = layers.SeparableConv2D(width, 3, strides=2, padding="same")(x)
        x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
        boxes.append(layers.Reshape((-1, 4))(layers.Conv2D(3 * 4, 3, padding="same")(x)))
        scores.append(layers.Reshape((-1, 5))(layers.Conv2D(3 * 5, 3, padding="same")(x)))
    joined = layers.Concatenate(axis=1, name="boxes")(boxes)
    found = layers.Activation("sigmoid", name="scores")(layers.Concatenate(axis=1)(scores))
    return Model(image, [joined, found])


def super_resolution() -> Any:
    """PReLU, group norm, a long skip and depth_to_space."""
    from keras import Input, Model, layers, ops

    image = Input((24, 32, 3), name="image")
    first = x = layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(32, 5, padding="same")(image))
    for _ in range(3):
        y = layers.GroupNormalization(4)(layers.Conv2D(32, 3, padding="same")(x))
        y = layers.Conv2D(32, 3, padding="same")(layers.Activation("mish")(y))
        x = layers.Add()([x, y])
    x = layers.Conv2D(3 * 16, 3, padding="same")(layers.Add()([x, first]))
    x = ops.reshape(x, (-1, 24, 32, 4, 4, 3))
    x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, 96, 128, 3))
    return Model(image, layers.Rescaling(0.5, 0.5, name="large")(x))


def gru() -> Any:
    """Convolutions over time, a bidirectional GRU and a GRU."""
    from keras import Input, Model, layers

    frames = Input((20, 12), name="frames")
    x = layers.Conv1D(24, 3, padding="causal", activation="relu")(frames)
    x = layers.Bidirectional(layers.GRU(16, return_sequences=True))(x)
    return Model(frames, layers.Dense(6, activation="softmax", name="classes")(layers.GRU(24)(x)))


def lstm() -> Any:
    """Stacked LSTMs and a GRU of the kind without reset_after."""
    from keras import Input, Model, layers

    frames = Input((16, 10), name="frames")
    x = layers.LSTM(20, return_sequences=True, dropout=0.2)(frames)
    x = layers.Bidirectional(layers.LSTM(12, return_sequences=True))(x)
    x = layers.SimpleRNN(14, return_sequences=True)(x)
    return Model(frames, layers.TimeDistributed(layers.Dense(5, name="dense"), name="steps")(x))


def hand_track() -> Any:
    """1x1 bottlenecks, max pools, zero padding and channel shuffles, with two heads."""
    from keras import Input, Model, layers, ops

    image = Input((80, 80, 3), name="image")
    x = layers.Conv2D(24, 3, strides=2)(layers.ZeroPadding2D(((0, 1), (0, 1)))(image))
    x = layers.MaxPooling2D(3, strides=2, padding="same")(layers.LeakyReLU(negative_slope=0.1)(x))
    for _ in range(2):
        left, right = ops.split(x, 2, axis=-1)
        right = layers.Conv2D(12, 1, activation="relu")(right)
        right = layers.BatchNormalization()(layers.DepthwiseConv2D(5, padding="same")(right))
        right = layers.Conv2D(12, 1, activation="relu")(right)
        x = layers.Concatenate()([left, right])
        x = ops.reshape(x, (-1, 20, 20, 2, 12))
        x = ops.reshape(ops.transpose(x, (0, 1, 2, 4, 3)), (-1, 20, 20, 24))
    x = layers.Cropping2D(2)(layers.AveragePooling2D(3, strides=1, padding="same")(x))
    points = layers.Dense(42, name="points")(layers.Flatten()(layers.Conv2D(4, 3, strides=2)(x)))
    present = layers.Dense(1, activation="sigmoid", name="present")(layers.GlobalMaxPooling2D()(x))
    return Model(image, [points, present])


BUILDERS: dict[str, Callable[[], Any]] = {
    "unet": unet,
    "aspp": aspp,
    "attention": attention,
    "detector": detector,
    "super_resolution": super_resolution,
    "hand_track": hand_track,
    "gru": gru,
    "lstm": lstm,
}
SEQUENCES = ("attention", "gru", "lstm", "super_resolution", "hand_track")  # they transpose by themselves


def build(name: str) -> Any:
    """The net with random weights."""
    import keras

    keras.utils.set_random_seed(0)
    if name in BUILDERS:
        return settle(BUILDERS[name]())
    size = APPLICATIONS[name]
    make = getattr(keras.applications, name)
    return settle(make(weights=None, input_shape=(size, size, 3), classes=20, classifier_activation=None))


def settle(model: Any) -> Any:
    """Draws scales, shifts and biases, and sets moving statistics from a forward pass."""
    import keras
    import numpy as np

    random = np.random.default_rng(0)
    for weight in model.weights:
        name, dims = weight.path.rpartition("/")[2], tuple(weight.shape)
        if name == "gamma" and "layer_scale" not in weight.path:
            weight.assign(random.uniform(0.7, 1.3, dims))
        elif name in ("beta", "bias", "recurrent_bias"):
            weight.assign(np.asarray(weight) + random.normal(0, 0.1, dims))
        elif name == "gamma":  # ConvNeXt's layer scale, 1e-6 at first
            weight.assign(random.uniform(0.2, 0.6, dims))
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    # Uniform in -1..1, like the inputs that the zoo compares on.
    batch = [random.uniform(-1, 1, (8, *port.shape[1:])).astype(np.float32) for port in model.inputs]
    model(batch[0] if len(batch) == 1 else batch, training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
    return model


def main(name: str, path: str) -> None:
    """Writes the net to `path` and prints the shapes of its inputs as JSON."""
    model = build(name)
    if path.endswith(".keras"):
        model.save(path)
        names = [port._keras_history.operation.name for port in model.inputs]
    else:
        model.export(path, verbose=False)
        names = [port.name for port in model.inputs]
    print(json.dumps({port: [1, *item.shape[1:]] for port, item in zip(names, model.inputs, strict=True)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
