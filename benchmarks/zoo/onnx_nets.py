"""The light models inside the onnx wheel: real classifiers' graphs, whose weights are to be filled in."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from benchmarks.zoo.subject import Made, Subject

_FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def subjects() -> list[Subject]:
    """Nine, judged by onnxruntime."""
    return [
        Subject(f"onnx/{path.stem.removeprefix('light_').removeprefix('bvlc_')}", partial(_made, path))
        for path in sorted(_FOLDER.glob("light_*.onnx"))
    ]


def _made(path: Path, folder: Path) -> Made:
    model = onnx.load(path)
    _fill(model, np.random.default_rng(0))
    _cut_softmax(model)
    model.ir_version = max(model.ir_version, 4)  # before, initializers had to be inputs as well
    filled = folder / path.name
    onnx.save(model, filled)
    return Made(filled)


def _fill(model: onnx.ModelProto, random: np.random.Generator) -> None:
    """Draws the weights anew: in the file each is one number everywhere, and every output the same."""
    readers = {name: (node, slot) for node in model.graph.node for slot, name in enumerate(node.input)}
    shapes = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    for node in [node for node in model.graph.node if node.op_type == "ConstantOfShape"]:
        reader, slot = readers[node.output[0]]
        dims = tuple(int(dim) for dim in shapes[node.input[0]])
        array = _weight(reader.op_type, slot, dims, random).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, node.output[0]))
        model.graph.node.remove(node)


def _cut_softmax(model: onnx.ModelProto) -> None:
    """A softmax of random logits, which lie far apart, is a 1 among zeros, whatever the error before it."""
    last = model.graph.node[-1]
    if last.op_type == "Softmax":
        model.graph.output[0].name = last.input[0]
        model.graph.node.remove(last)


def _weight(op: str, slot: int, dims: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    if len(dims) > 1:  # He et al. 2015: keeps the variance of activations
        return random.standard_normal(dims) * np.sqrt(2.0 / np.prod(dims[1:]))
    positive = op == "BatchNormalization" and slot in (1, 4)  # scale and variance
    return random.uniform(0.7, 1.3, dims) if positive else 0.1 * random.standard_normal(dims)
