"""Makes small TensorFlow models of every kind in the folder it is given; run as a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf


@keras.saving.register_keras_serializable("tests")
class Doubled(keras.layers.Layer):
    """A layer whose class no file holds."""

    def call(self, x: Any) -> Any:
        return x * 2.0


def settle(model: Any, seed: int = 0) -> Any:
    """Weights that matter: moving statistics, scales and biases far from their defaults."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        name, dims = weight.path, tuple(weight.shape)
        if "variance" in name:
            weight.assign(random.uniform(0.5, 2, dims))
        elif any(word in name for word in ("gamma", "beta", "mean", "bias")):
            weight.assign(random.normal(0.6 if "gamma" in name else 0, 0.3, dims))
    return model


def vision() -> Any:
    """Odd sizes, SAME pads, strides, depthwise, batch norm, a squeeze-excite block, exact gelu, resizes."""
    layers = keras.layers
    image = keras.Input((17, 23, 3), name="image")
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(image)
    x = layers.Activation("hard_swish")(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    s = layers.GlobalAveragePooling2D(keepdims=True)(x)
    s = layers.Conv2D(8, 1, activation="hard_sigmoid")(layers.Conv2D(4, 1, activation="relu")(s))
    x = layers.Activation("gelu")(layers.Multiply()([x, s]))
    x = layers.Conv2D(8, 3, groups=4, padding="same")(x)  # a function meant for XLA
    up = layers.UpSampling2D(2, interpolation="bilinear")(x)
    up = layers.Concatenate()([up, layers.UpSampling2D(2)(x)])
    mask = layers.Conv2D(2, 1, activation="softmax", name="mask")(up)
    score = layers.Dense(3, name="score")(layers.GlobalMaxPooling2D()(x))
    return settle(keras.Model(image, [mask, score]))


def recurrent() -> Any:
    """LSTM, GRU and a bidirectional GRU over 6 steps."""
    layers = keras.layers
    frames = keras.Input((6, 5), name="frames")
    x = layers.GRU(7, return_sequences=True)(layers.LSTM(8, return_sequences=True)(frames))
    return settle(keras.Model(frames, layers.Bidirectional(layers.GRU(4), name="both")(x)))


class Resizer(tf.Module):
    """Open height and width, two signatures, none the default's name."""

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32, "image")])
    def half(self, image: Any) -> dict[str, Any]:
        dims = tf.shape(image)
        return {"small": tf.image.resize(image, [dims[1] // 2, dims[2] // 2])}

    @tf.function(
        input_signature=[tf.TensorSpec([1, 4], tf.float32, "x"), tf.TensorSpec([1, 4], tf.float32, "y")]
    )
    def both(self, x: Any, y: Any) -> dict[str, Any]:
        return {"sum": x + y, "same": x}


class Resized(tf.Module):
    """Every kind of resize to 17 x 7 of 9 x 14 pixels, which f32 ratios may miss by one."""

    @tf.function(input_signature=[tf.TensorSpec([1, 9, 14, 2], tf.float32, "x")])
    def __call__(self, x: Any) -> dict[str, Any]:
        raw, to = tf.raw_ops, [17, 7]
        return {
            "bilinear": raw.ResizeBilinear(images=x, size=to, half_pixel_centers=True),
            "bilinear_asymmetric": raw.ResizeBilinear(images=x, size=to),
            "bilinear_corners": raw.ResizeBilinear(images=x, size=to, align_corners=True),
            "nearest": raw.ResizeNearestNeighbor(images=x, size=to),
            "nearest_half": raw.ResizeNearestNeighbor(images=x, size=to, half_pixel_centers=True),
            "nearest_corners": raw.ResizeNearestNeighbor(images=x, size=to, align_corners=True),
            "area": raw.ResizeArea(images=x, size=[18, 28]),
            "flipped": tf.reverse(x, [1, -1]),
        }


class Cubic(tf.Module):
    """Both kinds of bicubic."""

    @tf.function(input_signature=[tf.TensorSpec([1, 9, 14, 2], tf.float32, "x")])
    def __call__(self, x: Any) -> dict[str, Any]:
        raw, to = tf.raw_ops, [17, 7]
        return {
            "keys": raw.ResizeBicubic(images=x, size=to, half_pixel_centers=True),
            "legacy": raw.ResizeBicubic(images=x, size=to),
        }


class Area(tf.Module):
    """An area resize to a fraction, which ONNX has no word for."""

    @tf.function(input_signature=[tf.TensorSpec([1, 9, 14, 2], tf.float32, "x")])
    def __call__(self, x: Any) -> dict[str, Any]:
        return {"y": tf.raw_ops.ResizeArea(images=x, size=[4, 7], name="smaller")}


class Detector(tf.Module):
    """The end of a detector: boxes shared by the classes, and boxes of each class padded to a fixed count."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([2, 12, 3, 4], tf.float32, "boxes"), tf.TensorSpec([2, 12, 3], tf.float32, "scores")
        ]
    )  # fmt: skip
    def __call__(self, boxes: Any, scores: Any) -> dict[str, Any]:
        own = tf.image.combined_non_max_suppression(boxes, scores, 4, 16, 0.3, 0.1, clip_boxes=False)
        wide = tf.concat([boxes[..., :2], boxes[..., :2] + 1.0], -1)[:, :, :1]
        all_ = tf.image.combined_non_max_suppression(wide, scores, 4, 9, 0.2, 0.0, pad_per_class=True)
        return {
            f"{name}{at}": item for name, found in (("a", own), ("b", all_)) for at, item in enumerate(found)
        }


class Unsupported(tf.Module):
    """Two operators that ONNX has no word for."""

    @tf.function(input_signature=[tf.TensorSpec([4], tf.float32, "x")])
    def __call__(self, x: Any) -> dict[str, Any]:
        return {
            "y": tf.raw_ops.Betainc(a=x, b=x, x=tf.sigmoid(x), name="beta") + tf.math.lgamma(x, name="gam")
        }


def frozen(path: Path) -> None:
    """relu(x @ w) with an open batch and a value nobody reads."""
    weight = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 6], "x")
        y = tf.matmul(x, tf.constant(weight), name="dense")
        tf.nn.relu(y, name="out")
        tf.reduce_sum(y, name="total")
    path.write_bytes(graph.as_graph_def().SerializeToString())


def main(folder: Path) -> None:
    model = vision()
    model.save(folder / "vision.keras")
    model.save(folder / "vision.h5")
    model.export(folder / "vision", verbose=False)
    recurrent().save(folder / "recurrent.keras")
    resizer = Resizer()
    tf.saved_model.save(
        resizer, str(folder / "resizer"), signatures={"half": resizer.half, "both": resizer.both}
    )
    for name, module in {
        "unsupported": Unsupported(),
        "resized": Resized(),
        "cubic": Cubic(),
        "area": Area(),
        "detector": Detector(),
    }.items():
        tf.saved_model.save(module, str(folder / name), signatures=module.__call__)
    x = keras.Input((4,))
    keras.Model(x, Doubled()(x)).save(folder / "custom.keras")
    keras.Model(x, keras.layers.Lambda(lambda t: t * 2)(x)).save(folder / "lambda.keras")
    keras.Model(x, keras.layers.Lambda(lambda t: t * 2)(x)).save(folder / "lambda.h5")
    frozen(folder / "frozen.pb")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
