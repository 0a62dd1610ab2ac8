"""Statistics for normalisation are taken where the convolution before it stores its result."""

from __future__ import annotations

import onnx_ir as ir

from tiercast.ir.edit import erase
from tiercast.ir.report import PassReport, label
from tiercast.ir.slots import set_attribute
from tiercast.ops import winograd
from tiercast.ops.conv2d import statistics_refusal
from tiercast.ops.registry import DOMAIN, attr, shape

_BANDS = 32  # whole blocks of tiles each: even shares for some threads, and quickly joined


def fuse_statistics(model: ir.Model) -> PassReport:
    """ChannelStatistics of a Conv2d becomes the convolution's second output, in place.

    The convolution's other readers do not matter: it stores what it stored. Run it when epilogues are fused.
    """
    report = PassReport("fuse_statistics")
    for node in list(model.graph):
        if node.domain != DOMAIN or node.op_type != "ChannelStatistics":
            continue
        source = node.inputs[0]
        producer = source.producer() if source is not None else None
        if producer is None:
            report.refuse(node, "it is of an input")
            continue
        refusal = _refusal(producer)
        if refusal is not None:
            report.refuse(node, refusal)
            continue
        _fuse(model.graph, node, producer)
        report.apply(node, f"into {label(producer)}")
    return report


def _refusal(producer: ir.Node) -> str | None:
    if producer.op_type != "Conv2d":
        return f"{producer.op_type} takes no statistics"
    if not winograd.tiles_for(producer):
        return f"{label(producer)} is no Winograd convolution, others take no statistics"
    if attr(producer, "statistics"):
        return f"{label(producer)} has statistics already"
    return statistics_refusal(producer)


def _fuse(graph: ir.Graph, node: ir.Node, producer: ir.Node) -> None:
    old, y = node.outputs[0], producer.outputs[0]
    _, height, width, channels = shape(y)
    bands = min(_BANDS, height * width)
    set_attribute(producer, "statistics", bands)
    producer.resize_outputs(2)
    made = producer.outputs[1]
    made.shape, made.type = ir.Shape((1, bands, 3, channels)), old.type
    name = old.name
    old.replace_all_uses_with(made)
    erase(graph, [node])
    made.name = name
