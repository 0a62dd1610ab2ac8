"""Space to batch and back; around a convolution they are TensorFlow's old way to say dilation."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np

from tiercast.errors import ModelError
from tiercast.frontend.tflite_ops.builder import Value
from tiercast.frontend.tflite_ops.file import Operator, Subgraph
from tiercast.frontend.tflite_ops.scope import Scope
from tiercast.frontend.tflite_ops.shapes import keep, stored
from tiercast.frontend.tflite_ops.table import options, translates
from tiercast.frontend.tflite_ops.windows import cut

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


@translates("SPACE_TO_BATCH_ND", inputs=3)
def space_to_batch(scope: Scope, op: Operator) -> None:
    """Pads, then every pixel of a block goes to a batch of its own."""
    x, out = op.inputs[0], op.outputs[0]
    block, pads = _operands(scope, op)
    axes = len(block)
    dims = scope.shape(x)
    value = stored(scope, x, out)
    if np.any(pads):
        value = _padded(scope, x, value, pads, out)
    spatial = value.shape[1 : 1 + axes]
    if any(extent % size for extent, size in zip(spatial, block, strict=True)):
        raise ModelError(f"{dims} with pads {pads.tolist()} does not divide into blocks of {block}")
    parts = [part for extent, size in zip(spatial, block, strict=True) for part in (extent // size, size)]
    rest = dims[1 + axes :]
    split = scope.reshaped(value, (dims[0], *parts, *rest))
    inner, outer = [2 + 2 * axis for axis in range(axes)], [1 + 2 * axis for axis in range(axes)]
    order = [*inner, 0, *outer, *range(1 + 2 * axes, len(split.shape))]
    small = [extent // size for extent, size in zip(spatial, block, strict=True)]
    made = scope.reshaped(scope.turned(split, order), (dims[0] * int(np.prod(block)), *small, *rest))
    keep(scope, x, out, made)


@translates("BATCH_TO_SPACE_ND", inputs=3)
def batch_to_space(scope: Scope, op: Operator) -> None:
    """The inverse; crops where the other pads."""
    x, out = op.inputs[0], op.outputs[0]
    block, crops = _operands(scope, op)
    axes = len(block)
    dims = scope.shape(x)
    batch = dims[0] // int(np.prod(block))
    if batch * int(np.prod(block)) != dims[0]:
        raise ModelError(f"a batch of {dims[0]} does not divide into blocks of {block}")
    split = scope.reshaped(stored(scope, x, out), (*block, batch, *dims[1:]))
    pairs = [at for axis in range(axes) for at in (axes + 1 + axis, axis)]
    turned = scope.turned(split, [axes, *pairs, *range(2 * axes + 1, len(split.shape))])
    large = [extent * size for extent, size in zip(dims[1 : 1 + axes], block, strict=True)]
    made = scope.reshaped(turned, (batch, *large, *dims[1 + axes :]))
    begins, ends = [0] * len(made.shape), list(made.shape)
    for axis in range(axes):
        begins[1 + axis], ends[1 + axis] = int(crops[axis, 0]), large[axis] - int(crops[axis, 1])
    keep(scope, x, out, cut(scope, made, begins, ends, [1] * len(begins)))


def find_dilations(scope: Scope, graph: Subgraph) -> list[Operator]:
    """The operators of a subgraph, each dilated convolution that is said by batches said plainly.

    Space to batch, convolution and batch to space become one convolution, whose options hold "Pads", ONNX's
    [top, left, bottom, right].
    """
    uses = Counter(index for op in graph.operators for index in op.inputs)
    uses.update(graph.outputs)
    reader = {index: op for op in graph.operators for index in op.inputs[:1] if uses[index] == 1}
    replaced: dict[int, Operator | None] = {}
    for op in graph.operators:
        conv = reader.get(op.outputs[0]) if op.kind == "SPACE_TO_BATCH_ND" and op.outputs else None
        back = reader.get(conv.outputs[0]) if conv is not None and conv.kind in _CONVOLUTIONS else None
        made = _dilated(scope, op, conv, back) if conv and back and back.kind == "BATCH_TO_SPACE_ND" else None
        if made is not None and conv is not None and back is not None:
            replaced |= {op.index: None, conv.index: None, back.index: made}
    listed = [replaced.get(op.index, op) for op in graph.operators]
    return [op for op in listed if op is not None]


def _dilated(scope: Scope, to_batch: Operator, conv: Operator, back: Operator) -> Operator | None:
    tables = [scope.tensor(index).data for op in (to_batch, back) for index in op.inputs[1:3]]
    block, pads, block_again, crops = (None if table is None else np.asarray(table) for table in tables)
    if block is None or pads is None or block_again is None or crops is None or block.shape != (2,):
        return None
    chosen = options(conv, "Conv2DOptions" if conv.kind == "CONV_2D" else "DepthwiseConv2DOptions")
    plain = [chosen[name] for name in ("StrideH", "StrideW", "DilationHFactor", "DilationWFactor")] == [1] * 4
    if not plain or chosen["Padding"] != 1 or not np.array_equal(block, block_again):
        return None
    if not scope.same_scale(to_batch.inputs[0], conv.inputs[0]) or not scope.same_scale(
        conv.outputs[0], back.outputs[0]
    ):
        return None
    left = pads - crops  # what is cropped behind a convolution of stride 1 need not be padded before it
    if left.min() < 0:
        return None
    dilation = {"DilationHFactor": int(block[0]), "DilationWFactor": int(block[1])}
    padding = {"Pads": [int(left[0, 0]), int(left[1, 0]), int(left[0, 1]), int(left[1, 1])]}
    return dataclasses.replace(
        conv,
        index=back.index,
        inputs=(to_batch.inputs[0], *conv.inputs[1:]),
        outputs=back.outputs,
        options={**chosen, **dilation, **padding},
        options_kind=conv.options_kind if conv.options_kind != "NONE" else "Conv2DOptions",
    )


def _operands(scope: Scope, op: Operator) -> tuple[list[int], np.ndarray]:
    block, table = scope.numbers(op.inputs[1], "the block"), scope.constant(op.inputs[2], "the padding")
    rank = len(scope.shape(op.inputs[0]))
    if (
        table.shape != (len(block), 2)
        or min(block, default=0) < 1
        or rank < 1 + len(block)
        or table.min() < 0
    ):
        raise ModelError(f"blocks {block} and pads {table.tolist()} do not fit {scope.shape(op.inputs[0])}")
    return block, table


def _padded(scope: Scope, x: int, value: Value, pads: np.ndarray, out: int) -> Value:
    quantization = scope.quantized(x) if scope.same_scale(x, out) else None
    fill = scope.builder.constant(0 if quantization is None else int(quantization.zeros[0]), value.dtype)
    rank, axes = len(value.shape), len(pads)
    vector: list[int] = []
    for end in (0, 1):
        vector += [0, *(int(pads[axis, end]) for axis in range(axes)), *[0] * (rank - 1 - axes)]
    return scope.builder.emit("Pad", [value, scope.builder.ints(vector), fill], mode="constant")
