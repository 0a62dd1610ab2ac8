"""A nearest-neighbour enlargement goes into the convolutions that read it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import erase
from tiercast.ir.report import PassReport, label
from tiercast.ir.slots import set_attribute
from tiercast.ops.convolution import weight_of
from tiercast.ops.registry import DOMAIN, attr, shape
from tiercast.ops.resize2d import table

_MOST = 64  # times a pixel may be read: kernels/conv2d/padding.h


def fuse_resize(model: ir.Model) -> PassReport:
    """Resize2d by whole numbers, nearest neighbour, before Conv2d becomes its `upsample`, in place.

    Where all readers are such convolutions, so that the enlarged image need not exist. Run it when pads are
    fused.
    """
    report = PassReport("fuse_resize")
    for node in list(model.graph):
        if node.domain != DOMAIN or node.op_type != "Resize2d":
            continue
        readers = list(dict.fromkeys(use.node for use in node.outputs[0].uses()))
        factors = _factors(node)
        refusal = "it is no nearest-neighbour enlargement by whole numbers" if factors is None else None
        refusal = refusal or _refusal(node, readers)
        if refusal is not None:
            report.refuse(node, refusal)
            continue
        for reader in readers:
            reader.replace_input_with(0, node.inputs[0])
            set_attribute(reader, "upsample", factors)
            report.apply(node, f"into {label(reader)}")
        erase(model.graph, [node])
    return report


def _factors(node: ir.Node) -> list[int] | None:
    """How often each pixel stands below and beside itself; None where that is no whole number."""
    x = node.inputs[0]
    assert x is not None
    if attr(node, "mode") != "nearest":
        return None
    found = []
    for axis in (0, 1):
        length, out = shape(x)[1 + axis], attr(node, "out")[axis]
        factor = out // length
        places = table(node, axis, length)[0][:, 0]
        if not 1 <= factor <= _MOST or not np.array_equal(places, np.arange(out) // factor):
            return None
        found.append(factor)
    return found


def _refusal(node: ir.Node, readers: list[ir.Node]) -> str | None:
    if node.outputs[0].is_graph_output() or not readers:
        return "its result is an output"
    for reader in readers:
        if reader.op_type != "Conv2d":
            return f"{label(reader)} reads it too"
        if [value is node.outputs[0] for value in reader.inputs].count(True) > 1:
            return f"{label(reader)} reads it twice"
        if weight_of(reader).shape[2:] == (1, 1):
            return f"{label(reader)} is 1x1"
        if attr(reader, "upsample") != [1, 1]:
            return f"{label(reader)} enlarges its image already"
    return None
