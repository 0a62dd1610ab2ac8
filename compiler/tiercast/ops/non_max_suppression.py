"""NonMaxSuppression: which boxes stay where several overlap."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.layouter import Layouter
from tiercast.ops.lowering import Lowering
from tiercast.ops.registry import REQUIRED, Op, attr, dtype, shape, where


class NonMaxSuppression(Op):
    """y[count,3] s64: batch, class and box of those boxes[B,N,4] that stay by scores[B,C,N], both f32; in the
    order of batches, classes and falling scores. Rows that are left over are -1; no more than `count` are
    given.

    At most `most` boxes of a class stay; one whose intersection with a better one is more than `overlap` of
    their union goes, and, if `bounded`, one whose score is not above `least`. centered: boxes are x, y, width
    and height, else y, x, y, x of two corners.
    """

    onnx = ("NonMaxSuppression",)
    inputs = ("boxes", "scores")
    attributes: ClassVar = {
        "count": REQUIRED,
        "most": 0,
        "overlap": 0.0,
        "bounded": 0,
        "least": 0.0,
        "centered": 0,
    }

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """In logical order; limits must be constants."""
        boxes, scores = node.inputs[:2]
        assert boxes is not None and scores is not None
        most, overlap, least = (_number(node, layout, index) for index in (2, 3, 4))
        attributes = {
            "count": layout.shape(node.outputs[0])[0],
            "most": int(min(most or 0, layout.shape(boxes)[1])),
            "overlap": float(overlap or 0.0),
            "bounded": int(least is not None),
            "least": float(least or 0.0),
            "centered": int(attr(node, "center_point_box", 0)),
        }
        operands = [layout.plain(boxes), layout.plain(scores)]
        layout.bind(node.outputs[0], layout.emit("NonMaxSuppression", operands, attributes)[0])

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """[count, 3] s64."""
        boxes, scores = node.inputs
        assert boxes is not None and scores is not None
        a, b = shape(boxes), shape(scores)
        fits = len(a) == len(b) == 3 and a[2] == 4 and (a[0], a[1]) == (b[0], b[2])
        if not fits or {dtype(boxes), dtype(scores)} != {ir.DataType.FLOAT}:
            raise GraphError(
                f"{where(node)}: boxes {dtype(boxes)} {a} and scores {dtype(scores)} {b} are not f32 [B,N,4] "
                "and [B,C,N]"
            )
        count, most = int(attr(node, "count")), int(attr(node, "most"))
        if count < 1 or most < 0:
            raise GraphError(f"{where(node)}: it gives {count} rows, of a class {most} at most")
        return [(ir.DataType.INT64, (count, 3))]

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One `non_max_suppression` call."""
        params = {name: attr(node, name) for name in ("most", "overlap", "bounded", "least", "centered")}
        boxes = node.inputs[0]
        assert boxes is not None
        row, scratch = low.choose("non_max_suppression_f32s64"), 8 * shape(boxes)[1]
        low.call(node, row, list(node.inputs), list(node.outputs), params, scratch)


def _number(node: ir.Node, layout: Layouter, index: int) -> float | None:
    """A limit, None where it is left out; GraphError where it is computed."""
    value = node.inputs[index] if len(node.inputs) > index else None
    if value is None:
        return None
    data = layout.const(value)
    if data is None or data.size != 1:
        raise GraphError(f"{where(node)}: input {index}, a limit, must be one constant number")
    return float(np.reshape(data, -1)[0])
