"""Convolutions whose weights the model computes, as StyleGAN's modulated ones: products of matrices."""

from __future__ import annotations

import itertools

import numpy as np
import onnx_ir as ir

from tiercast.passes.expansion import Expansion, known_shape, option


def has_runtime_weight(node: ir.Node) -> bool:
    """Whether a convolution's weight depends on an input of the model."""
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    pending, seen = [weight], set()
    while pending:
        value = pending.pop()
        if value is None or value.is_initializer() or id(value) in seen:
            continue
        seen.add(id(value))
        producer = value.producer()
        if producer is None:
            return True
        pending.extend(producer.inputs)
    return False


def expand_runtime_convolution(node: ir.Node) -> str | None:
    """Everything under the window becomes a row, [H*W, taps*C], which is multiplied with [taps*C, M]."""
    build = Expansion(node)
    dims, kernel = known_shape(node.inputs[0]), known_shape(node.inputs[1])
    if len(dims) != 4:
        return f"weights computed at run time of rank {len(dims)}; pictures (rank 4) are known"
    if option(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return "weights computed at run time together with auto_pad; give explicit pads"
    group, (batch, channels), out = option(node, "group", 1), dims[:2], known_shape(node.outputs[0])
    inner, places = channels // group, out[2] * out[3]
    rows = _windows(build, node, (batch * group, inner), kernel, out)
    depth, width = kernel[2] * kernel[3] * inner, kernel[0] // group
    lead = (batch,) if group == 1 else (batch, group)
    x = build.reshape(build.op("Transpose", rows, perm=[0, 2, 3, 1]), *lead, places, depth)
    w = build.reshape(node.inputs[1], group, width, inner, kernel[2] * kernel[3])
    w = build.reshape(build.op("Transpose", w, perm=[0, 3, 2, 1]), *lead[1:], depth, width)
    y = build.reshape(build.op("MatMul", x, w), batch * group, out[2], out[3], width)
    y = build.reshape(build.op("Transpose", y, perm=[0, 3, 1, 2]), *out)
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        y = build.op("Add", y, build.reshape(node.inputs[2], 1, kernel[0], 1, 1))
    build.finish(y)
    return None


def _windows(
    build: Expansion, node: ir.Node, lead: tuple[int, int], kernel: tuple[int, ...], out: tuple[int, ...]
) -> ir.Value | None:
    """[N*group, taps*C/group, OH, OW]: for each tap of the kernel what it meets."""
    x, (height, width) = node.inputs[0], known_shape(node.inputs[0])[2:]
    pads = option(node, "pads", [0] * 4)
    strides, steps = option(node, "strides", [1, 1]), option(node, "dilations", [1, 1])
    if any(pads):
        x = build.op("Pad", x, np.array([0, 0, *pads[:2], 0, 0, *pads[2:]], np.int64), 0.0)
    x = build.reshape(x, *lead, height + pads[0] + pads[2], width + pads[1] + pads[3])
    parts = []
    for tap in itertools.product(range(kernel[2]), range(kernel[3])):
        first = [tap[axis] * steps[axis] for axis in (0, 1)]
        last = [first[axis] + (out[2 + axis] - 1) * strides[axis] + 1 for axis in (0, 1)]
        bounds = [np.array(item, np.int64) for item in (first, last, [2, 3], strides)]
        parts.append(build.op("Slice", x, *bounds))
    return parts[0] if len(parts) == 1 else build.op("Concat", *parts, axis=1)
