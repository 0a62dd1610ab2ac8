"""Means over any axes as averages of an image's height and width, which run on integers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import new_constant, static_shape


@dataclass(frozen=True)
class Image:
    """What a mean is an average of.

    order, dims: transposed by the one, then reshaped to the other, [N, C, H, W].
    window: the height and width that are averaged; None: all of both.
    """

    order: tuple[int, ...]
    dims: tuple[int, ...]
    window: tuple[int, int] | None

    @property
    def pooled(self) -> tuple[int, ...]:
        """Dims of the averages."""
        height, width = self.window or self.dims[2:]
        return (*self.dims[:2], self.dims[2] // height, self.dims[3] // width)


def image_of(dims: Sequence[int], axes: Sequence[int]) -> Image:
    """A mean over `axes` (0 or more) of a value of `dims`: where only heights or widths of images are
    averaged nothing moves; else what is kept becomes channels, what is averaged the height.
    """
    same = tuple(range(len(dims)))
    if len(dims) == 4 and set(axes) <= {2, 3}:
        height, width = (dims[axis] if axis in axes else 1 for axis in (2, 3))
        return Image(same, tuple(dims), None if len(axes) == 2 else (height, width))
    kept = [axis for axis in same if axis not in axes]
    counts = [math.prod(dims[axis] for axis in part) for part in (kept, axes)]
    return Image((*kept, *axes), (1, *counts, 1), None)


def arranged(graph: ir.Graph, before: ir.Node, x: ir.Value, image: Image, name: str) -> ir.Value:
    """The s8 value as that image, by nodes in front of `before`."""
    dims = static_shape(x) or ()
    moved = [dims[axis] for axis in image.order]
    if image.order != tuple(range(len(dims))):
        x = _inserted(
            graph, before, ir.node("Transpose", [x], {"perm": list(image.order)}), f"{name}.moved", moved
        )
    if moved != list(image.dims):
        target = new_constant(graph, f"{name}.image.dims", np.asarray(image.dims, np.int64))
        x = _inserted(graph, before, ir.node("Reshape", [x, target]), f"{name}.image", image.dims)
    return x


def _inserted(graph: ir.Graph, before: ir.Node, node: ir.Node, name: str, dims: Sequence[int]) -> ir.Value:
    made = node.outputs[0]
    node.name = made.name = name
    made.shape, made.type = ir.Shape(dims), ir.TensorType(ir.DataType.INT8)
    graph.insert_before(before, [node])
    return made
