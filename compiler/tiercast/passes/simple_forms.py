"""Operators that no kernel takes and ONNX gives no body, as arithmetic of others."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import array
from tiercast.passes.einsum import expand_einsum
from tiercast.passes.expansion import Expansion, known_shape, option
from tiercast.passes.fourier import expand_dft, expand_stft


def _eye_like(node: ir.Node) -> str | None:
    """A constant: only the shape of its input counts."""
    source, build = node.inputs[0], Expansion(node)
    kind = ir.DataType(option(node, "dtype", int((source.dtype if source is not None else None) or 1)))
    rows, columns = known_shape(source)
    eye = np.eye(rows, columns, option(node, "k", 0)).astype(kind.numpy())
    build.finish(build.op("Identity", eye))
    return None


def _compress(node: ir.Node) -> str | None:
    """What a known condition keeps, gathered."""
    build, x, kept = Expansion(node), node.inputs[0], array(node.inputs[1])
    if kept is None:
        return "its condition is computed, so that the shape of its result is not known"
    axis = option(node, "axis", None)
    source = build.reshape(x, -1) if axis is None else x
    build.finish(build.op("Gather", source, np.flatnonzero(kept).astype(np.int64), axis=axis or 0))
    return None


def _reverse_sequence(node: ir.Node) -> str | None:
    """x gathered at length - 1 - t before each sequence's end, at t behind it."""
    build, (x, lengths) = Expansion(node), node.inputs[:2]
    dims, time, batch = known_shape(x), option(node, "time_axis", 0), option(node, "batch_axis", 1)

    def along(axis: int) -> list[int]:
        return [dims[axis] if at == axis else 1 for at in range(len(dims))]

    steps = np.arange(dims[time]).reshape(along(time))
    ends = build.reshape(build.op("Cast", lengths, to=int(ir.DataType.INT64)), *along(batch))
    turned = build.op("Sub", build.op("Sub", ends, np.array(1, np.int64)), steps)
    index = build.op("Where", build.op("Less", steps, ends), turned, steps)
    spread = build.op("Expand", index, np.array(dims, np.int64))
    build.finish(build.op("GatherElements", x, spread, axis=time))
    return None


def _max_unpool(node: ir.Node) -> str | None:
    """Zeros with each value at its index of the whole flattened result."""
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        return "output_shape is given, against which the indices do not count"
    build, (x, indices) = Expansion(node), node.inputs[:2]
    shape = known_shape(node.outputs[0])
    count = math.prod(known_shape(x))
    zeros = np.zeros(math.prod(shape), np.float32)
    made = build.op("ScatterElements", zeros, build.reshape(indices, count), build.reshape(x, count), axis=0)
    build.finish(build.reshape(made, *shape))
    return None


def _col2im(node: ir.Node) -> str | None:
    """A transposed convolution whose weights put each row of a block in its place."""
    build, x = Expansion(node), node.inputs[0]
    image, block = array(node.inputs[1]), array(node.inputs[2])
    if image is None or block is None or len(image) != 2:
        return "its shapes are computed, or not those of an image"
    sizes, taps = [int(item) for item in image], [int(item) for item in block]
    strides, steps = option(node, "strides", [1, 1]), option(node, "dilations", [1, 1])
    pads = option(node, "pads", [0, 0, 0, 0])
    room = [sizes[at] + pads[at] + pads[at + 2] - ((taps[at] - 1) * steps[at] + 1) for at in (0, 1)]
    counts = [room[at] // strides[at] + 1 for at in (0, 1)]
    batch, rows, _ = known_shape(x)
    lines = math.prod(taps)
    weight = np.eye(lines, dtype=np.float32).reshape(lines, 1, *taps)
    made = build.op(
        "ConvTranspose",
        build.reshape(x, batch * (rows // lines), lines, *counts),
        weight,
        strides=strides,
        dilations=steps,
        pads=pads,
        output_padding=[room[at] % strides[at] for at in (0, 1)],
    )
    build.finish(build.reshape(made, batch, rows // lines, *sizes))
    return None


SIMPLE: dict[str, Callable[[ir.Node], str | None]] = {
    "Col2Im": _col2im,
    "Compress": _compress,
    "DFT": expand_dft,
    "Einsum": expand_einsum,
    "EyeLike": _eye_like,
    "MaxUnpool": _max_unpool,
    "ReverseSequence": _reverse_sequence,
    "STFT": expand_stft,
}
