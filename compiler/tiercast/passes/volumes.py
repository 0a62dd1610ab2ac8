"""Convolutions and poolings over volumes [N,C,D,H,W], as those over their pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import array
from tiercast.passes.expansion import Expansion, known_shape, option

_FRAMES = (0, 2, 1, 3, 4)  # N,C,D,H,W <-> N,D,C,H,W


def is_volume(node: ir.Node) -> bool:
    """Whether the operand is [N,C,D,H,W]."""
    source = node.inputs[0] if node.inputs else None
    return source is not None and len(source.shape or ()) == 5


def expand_volume_convolution(node: ir.Node) -> str | None:
    """The frames under the kernel's depth become channels of one picture: the products are the same.

    A depthwise kernel is instead a depthwise convolution for each of its frames, summed.
    """
    build, x = Expansion(node), node.inputs[0]
    weight = array(node.inputs[1])
    if weight is None:
        return "the weight of a 3-D convolution is computed at run time"
    window = _Window(node, weight.shape[2:])
    x = _pad_depth(build, x, window, 0.0)
    count, kernel = window.output(0), weight.shape[2]
    parts = [_frames(build, x, window, tap, count) for tap in range(kernel)]
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    options = {**window.flat(), "group": option(node, "group", 1)}
    batch, channels = known_shape(node.inputs[0])[:2]
    height, width = known_shape(node.inputs[0])[3:]
    if weight.shape[1] == 1 and channels == weight.shape[0] and kernel > 1:
        pictures = [_pictures(build, part, (batch * count, channels, height, width)) for part in parts]
        y = build.op("Conv", pictures[0], weight[:, :, 0], bias, **options)
        for tap in range(1, kernel):
            y = build.op("Add", y, build.op("Conv", pictures[tap], weight[:, :, tap], **options))
    else:
        if kernel > 1:
            rows = [build.op("Unsqueeze", part, np.array([2], np.int64)) for part in parts]
            stacked: ir.Value | None = build.reshape(
                build.op("Concat", *rows, axis=2), batch, channels * kernel, count, height, width
            )
        else:
            (stacked,) = parts
        dims = (batch * count, channels * kernel, height, width)
        flat = weight.reshape(weight.shape[0], -1, *weight.shape[3:])
        y = build.op("Conv", _pictures(build, stacked, dims), np.ascontiguousarray(flat), bias, **options)
    build.finish(_volume(build, y, batch, (weight.shape[0], count, window.output(1), window.output(2))))
    return None


def expand_volume_pool(node: ir.Node) -> str | None:
    """Over height and width, then over depth: maxima of maxima, means of means."""
    build, x = Expansion(node), node.inputs[0]
    if node.op_type == "MaxPool" and len(node.outputs) > 1 and node.outputs[1].uses():
        return "indices are computed of pictures only"
    window = _Window(node, node.attributes["kernel_shape"].as_ints())
    batch, channels, depth, height, width = known_shape(x)
    if option(node, "ceil_mode", 0) and option(node, "count_include_pad", 0) and any(window.pads):
        return "ceil_mode together with count_include_pad of volumes"
    shared = {
        name: option(node, name, 0) for name in ("ceil_mode", "count_include_pad") if name in node.attributes
    }
    y = _pictures(build, x, (batch * depth, channels, height, width))
    y = build.op(node.op_type, y, kernel_shape=list(window.kernel[1:]), **window.flat(), **shared)
    out = known_shape(node.outputs[0])
    y = _volume(build, y, batch, (channels, depth, *out[3:]))
    y = build.reshape(y, batch, channels, depth, out[3] * out[4])
    y = build.op(
        node.op_type,
        y,
        kernel_shape=[window.kernel[0], 1],
        strides=[window.strides[0], 1],
        pads=[window.pads[0], 0, window.pads[3], 0],
        **({"dilations": [window.dilations[0], 1]} if "dilations" in node.attributes else {}),
        **shared,
    )
    build.finish(build.reshape(y, *out))
    return None


class _Window:
    """Kernel, strides, dilations and explicit pads along depth, height and width."""

    def __init__(self, node: ir.Node, kernel: Any) -> None:
        self.kernel = tuple(int(item) for item in kernel)
        if len(self.kernel) != 3:
            raise ValueError(f"a kernel of {len(self.kernel)} axes over a volume")
        self.strides = option(node, "strides", [1, 1, 1])
        self.dilations = option(node, "dilations", [1, 1, 1])
        self.pads = option(node, "pads", [0] * 6)
        self.size = known_shape(node.inputs[0])[2:]
        mode = option(node, "auto_pad", "NOTSET")
        if mode == "VALID":
            self.pads = [0] * 6
        elif mode != "NOTSET":
            raise ValueError(f"auto_pad={mode} of volumes; give explicit pads")
        if min(self.pads) < 0:
            raise ValueError(f"pads={self.pads}; slice the input instead of padding by a negative number")

    def output(self, axis: int) -> int:
        """Places along an axis."""
        reach = (self.kernel[axis] - 1) * self.dilations[axis] + 1
        return (
            int((self.size[axis] + self.pads[axis] + self.pads[axis + 3] - reach) // self.strides[axis]) + 1
        )

    def flat(self) -> dict[str, Any]:
        """Attributes over height and width."""
        made = {"strides": list(self.strides[1:]), "pads": [self.pads[at] for at in (1, 2, 4, 5)]}
        return made if list(self.dilations[1:]) == [1, 1] else {**made, "dilations": list(self.dilations[1:])}


def _pad_depth(build: Expansion, x: ir.Value | None, window: _Window, value: float) -> ir.Value | None:
    before, after = window.pads[0], window.pads[3]
    if not before and not after:
        return x
    return build.op("Pad", x, np.array([0, 0, before, 0, 0, 0, 0, after, 0, 0], np.int64), value)


def _frames(build: Expansion, x: ir.Value | None, window: _Window, tap: int, count: int) -> ir.Value | None:
    """The frames that a tap of the kernel meets, [N,C,count,H,W]."""
    step, first = window.strides[0], tap * window.dilations[0]
    last = first + (count - 1) * step + 1
    if step == 1 and first == 0 and last == window.size[0] + window.pads[0] + window.pads[3]:
        return x
    return build.op("Slice", x, *(np.array([item], np.int64) for item in (first, last, 2, step)))


def _pictures(build: Expansion, x: ir.Value | None, dims: tuple[int, ...]) -> ir.Value:
    return build.reshape(build.op("Transpose", x, perm=list(_FRAMES)), *dims)


def _volume(build: Expansion, pictures: ir.Value, batch: int, dims: tuple[int, ...]) -> ir.Value:
    """[N*D,C,H,W] -> [N,C,D,H,W]; dims: C, D, H, W."""
    channels, depth, height, width = dims
    y = build.reshape(pictures, batch, depth, channels, height, width)
    return build.op("Transpose", y, perm=list(_FRAMES))
