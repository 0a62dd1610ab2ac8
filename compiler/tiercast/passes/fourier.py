"""Fourier transforms as products with constant matrices: n^2 a line, little for the sizes of feature maps."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import array
from tiercast.passes.expansion import Expansion, known_shape, option


def expand_dft(node: ir.Node) -> str | None:
    """A product with the matrix of e^(-2πi jk/n): [.., n, .., 1 or 2] -> [.., n or n/2+1, .., 2].

    The inverse of one side is what PyTorch's irfft becomes: [.., n/2+1, .., 2] -> [.., n, .., 1].
    """
    build, x = Expansion(node), node.inputs[0]
    dims = known_shape(x)
    known = [array(value) for value in node.inputs[1:] if value is not None]
    if any(item is None for item in known):
        return "its axis or length is computed"
    length = array(node.inputs[1]) if len(node.inputs) > 1 else None
    axis_value = array(node.inputs[2]) if len(node.inputs) > 2 else None
    axis = int(axis_value if axis_value is not None else -2) % len(dims)
    inverse, half = option(node, "inverse", 0), option(node, "onesided", 0)
    real = bool(inverse and half)
    points = int(length) if length is not None else 2 * (dims[axis] - 1) if real else dims[axis]
    bins = points // 2 + 1 if half and not real else points
    used = min(dims[axis], points // 2 + 1 if real else points)
    angles = 2 * np.pi * np.outer(np.arange(used), np.arange(bins)) / points
    cosines, sines = np.cos(angles), np.sin(angles) * (1 if inverse else -1)
    if inverse:
        cosines, sines = cosines / points, sines / points
    order = [at for at in range(len(dims) - 1) if at != axis] + [axis, len(dims) - 1]
    turned = build.op("Transpose", x, perm=order)  # [.., n, parts]
    if used < dims[axis]:
        turned = build.op("Slice", turned, *(np.array([at], np.int64) for at in (0, used, len(dims) - 2)))
    lead = [dims[at] for at in order[:-2]]
    rows = build.reshape(turned, *lead, used * dims[-1])
    parts = np.stack([cosines, sines], -1)  # what a real part becomes
    if dims[-1] == 2:
        parts = np.stack([parts, np.stack([-sines, cosines], -1)], 1)
    if real:  # the other side is the conjugate of this one: all but its ends count twice
        ends = np.isin(np.arange(used), (0, points / 2))
        parts = parts[..., :1] * np.where(ends, 1, 2)[:, None, None, None]
    matrix = parts.reshape(-1, bins * parts.shape[-1]).astype(np.float32)
    made = build.reshape(build.op("MatMul", rows, matrix), *lead, bins, parts.shape[-1])
    build.finish(build.op("Transpose", made, perm=[order.index(at) for at in range(len(dims))]))
    return None


def expand_stft(node: ir.Node) -> str | None:
    """A convolution that strides over the signal, a channel for the real and the imaginary part of each bin:
    [N,T,1] -> [N,frames,bins,2].
    """
    build, (signal, *others) = Expansion(node), node.inputs
    batch, samples, *parts = known_shape(signal)
    if parts and parts != [1]:
        return "its signal is complex"
    step, window, length = (array(value) for value in (*others, None, None)[:3])
    if any(value is not None and array(value) is None for value in others) or step is None:
        return "its step, window or length is computed"
    if window is None and length is None:
        return "it has neither a window nor a length"
    points = int(length) if length is not None else len(window)  # type: ignore[arg-type]
    shape = np.ones(points) if window is None else window.astype(np.float64)
    bins = points // 2 + 1 if option(node, "onesided", 1) else points
    angles = 2 * np.pi * (np.outer(np.arange(bins), np.arange(points)) % points) / points
    weight = (np.stack([np.cos(angles), -np.sin(angles)], 1) * shape).reshape(2 * bins, 1, points)
    line = build.reshape(signal, batch, 1, samples)
    y = build.op("Conv", line, weight.astype(np.float32), strides=[int(step)])
    frames = (samples - points) // int(step) + 1
    y = build.reshape(build.op("Transpose", y, perm=[0, 2, 1]), batch, frames, bins, 2)
    build.finish(y)
    return None
