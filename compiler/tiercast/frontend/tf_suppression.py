"""TensorFlow's CombinedNonMaxSuppression, whose results have fixed sizes, in operators of fixed sizes.

tf2onnx goes by ONNX's NonMaxSuppression, which finds as many boxes as the data has. Here each step takes, for
all images and classes at once, the best box that is left and drops what overlaps it; at the end the best of
all classes are kept (tensorflow/core/kernels/image/non_max_suppression_op.cc).
"""

from __future__ import annotations

from typing import Any

import numpy as np

_GONE = -3e38  # the score of a box that is taken, overlapped or too low
_MAX_STEPS = 512
_FLOAT, _INT32, _INT64 = 1, 6, 7  # onnx.TensorProto


class _Writer:
    """Adds nodes to tf2onnx's graph; arrays and numbers (as f32) become constants."""

    def __init__(self, context: Any, stem: str) -> None:
        self._context, self._stem, self._count = context, stem, 0

    def op(self, op_type: str, *inputs: str | np.ndarray | float, **attributes: Any) -> str:
        """The first result of a new node."""
        made: str = self.ops(op_type, 1, *inputs, **attributes)[0]
        return made

    def ops(self, op_type: str, results: int, *inputs: str | np.ndarray | float, **attributes: Any) -> Any:
        """All results of a new node."""
        names = [item if isinstance(item, str) else self._constant(item) for item in inputs]
        return self._context.make_node(op_type, names, attr=attributes, output_count=results).output

    def _constant(self, item: np.ndarray | float) -> str:
        self._count += 1
        array = item if isinstance(item, np.ndarray) else np.float32(item)
        name: str = self._context.make_const(f"{self._stem}_c{self._count}", np.asarray(array)).output[0]
        return name


def combined_suppression(context: Any, node: Any, name: str, arguments: Any) -> None:
    """boxes [B,N,1 or C,4] (y1 x1 y2 x2), scores [B,N,C] -> boxes [B,T,4], scores and classes [B,T], f32, and
    how many are valid [B], s32. ValueError for limits that are computed and for more than 512 per class.
    """
    del arguments
    if not all(port.is_const() for port in node.inputs[2:6]):
        raise ValueError("its limits and thresholds are computed at run time")
    limits = [np.reshape(port.get_tensor_value(as_list=False), -1)[0] for port in node.inputs[2:6]]
    steps, total = int(limits[0]), int(limits[1])
    dims, shared = context.get_shape(node.input[1]), context.get_shape(node.input[0])
    if dims is None or shared is None or min(*dims, *shared) < 1:
        raise ValueError("the shapes of its boxes and scores are not known")
    batch, boxes, classes = dims
    steps = min(steps, boxes)
    if not 1 <= steps <= _MAX_STEPS:
        raise ValueError(f"it keeps {steps} boxes of a class; 1 to {_MAX_STEPS} are supported")
    write = _Writer(context, name)
    corners = _corners(write, node.input[0])
    scores = write.op("Transpose", node.input[1], perm=[0, 2, 1])
    live = write.op("Where", write.op("Greater", scores, float(limits[3])), scores, _GONE)
    found, places = _select(write, corners, live, (batch, classes, boxes), steps, float(limits[2]))
    count = min(total, classes * int(limits[0]) if node.get_attr_value("pad_per_class", False) else total)
    kept = min(total, classes * steps)
    flat = np.array([batch, classes * steps], np.int64)
    best, order = write.ops("TopK", 2, write.op("Reshape", found, flat), np.array([kept], np.int64), axis=1)
    group = write.op("Div", order, np.array(steps, np.int64))
    place = write.op("GatherElements", write.op("Reshape", places, flat), order, axis=1)
    if shared[2] > 1:
        place = write.op("Add", place, write.op("Mul", group, np.array(boxes, np.int64)))
    valid = write.op("Greater", best, _GONE / 2)
    last = np.array([2], np.int64)
    sides = [
        write.op("GatherElements", write.op("Reshape", side, np.array([batch, -1], np.int64)), place, axis=1)
        for side in corners
    ]
    chosen = write.op("Concat", *(write.op("Unsqueeze", side, last) for side in sides), axis=2)
    if node.get_attr_value("clip_boxes", True):
        chosen = write.op("Clip", chosen, 0.0, 1.0)
    results = [
        write.op("Where", write.op("Unsqueeze", valid, last), chosen, 0.0),
        write.op("Where", valid, best, 0.0),
        write.op("Where", valid, write.op("Cast", group, to=_FLOAT), 0.0),
    ]
    if count > kept:
        rest = np.zeros((batch, count - kept), np.float32)
        empty = (np.repeat(rest[..., None], 4, 2), rest, rest)
        results = [write.op("Concat", made, more, axis=1) for made, more in zip(results, empty, strict=True)]
    whole = write.op("Cast", valid, to=_INT32)
    results.append(write.op("ReduceSum", whole, np.array([1], np.int64), keepdims=0))
    outputs, kinds = list(node.output), [context.get_dtype(item) for item in node.output]
    shapes = [[batch, count, 4], [batch, count], [batch, count], [batch]]
    context.remove_node(node.name)
    for made, output, kind, shape in zip(results, outputs, kinds, shapes, strict=True):
        context.make_node("Identity", [made], outputs=[output], dtypes=[kind], shapes=[shape])


def _corners(write: _Writer, boxes: str) -> list[str]:
    """y1 x1 y2 x2, [batch, 1 or classes, boxes] each."""
    turned = write.op("Transpose", boxes, perm=[0, 2, 1, 3])
    return [write.op("Gather", turned, np.array(at, np.int64), axis=3) for at in range(4)]


def _select(
    write: _Writer, corners: list[str], live: str, dims: tuple[int, int, int], steps: int, overlap: float
) -> tuple[str, str]:
    """Scores and indices [batch, classes, steps] of the boxes that stay, the best first."""
    whole = np.array(dims, np.int64)
    low = [write.op("Expand", write.op("Min", corners[at], corners[at + 2]), whole) for at in (0, 1)]
    high = [write.op("Expand", write.op("Max", corners[at], corners[at + 2]), whole) for at in (0, 1)]
    area = write.op("Mul", *(write.op("Sub", high[at], low[at]) for at in (0, 1)))
    found, places = [], []
    for step in range(steps):
        place = write.op("ArgMax", live, axis=2, keepdims=1)
        found.append(write.op("ReduceMax", live, np.array([2], np.int64), keepdims=1))
        places.append(place)
        if step == steps - 1:
            break
        shared = _overlap(write, low, high, place)
        own = write.op("GatherElements", area, place, axis=2)
        union = write.op("Sub", write.op("Add", area, own), shared)
        close = write.op("Greater", write.op("Div", shared, write.op("Max", union, 1e-30)), overlap)
        same = write.op("Equal", np.arange(dims[2]).reshape(1, 1, -1), place)
        live = write.op("Where", write.op("Or", close, same), _GONE, live)
    return write.op("Concat", *found, axis=2), write.op("Concat", *places, axis=2)


def _overlap(write: _Writer, low: list[str], high: list[str], place: str) -> str:
    """The area that each box shares with the one at `place`."""
    lengths = []
    for start, end in zip(low, high, strict=True):
        last = write.op("Min", end, write.op("GatherElements", end, place, axis=2))
        first = write.op("Max", start, write.op("GatherElements", start, place, axis=2))
        lengths.append(write.op("Relu", write.op("Sub", last, first)))
    return write.op("Mul", *lengths)
