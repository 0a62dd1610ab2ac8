"""Pads go into the convolutions and poolings that read the padded image."""

from __future__ import annotations

import onnx_ir as ir

from tiercast.ir.edit import erase
from tiercast.ir.report import PassReport, label
from tiercast.ir.slots import set_attribute
from tiercast.ops.registry import DOMAIN, attr, op_of, shape

_MODES = {"constant": "zero", "reflect": "reflect", "edge": "replicate"}


def fuse_pad(model: ir.Model) -> PassReport:
    """A Pad of height and width becomes `pads` and `pad_mode` of every node that reads it, in place.

    All readers must take it: convolutions for zero, reflect and edge pads, average pooling that counts pads
    for zeros.
    """
    report = PassReport("fuse_pad")
    for node in list(model.graph):
        if node.domain != DOMAIN or node.op_type != "Pad":
            continue
        source, out = node.inputs[0], node.outputs[0]
        assert source is not None
        refusal = _refusal(node)
        if refusal is not None:
            report.refuse(node, refusal)
            continue
        top_left_bottom_right = _spatial(node)
        for user in {use.node for use in out.uses()}:
            _widen(user, node, top_left_bottom_right)
        out.replace_all_uses_with(source)
        erase(model.graph, [node])
        report.apply(node, f"{attr(node, 'mode')} pads {top_left_bottom_right}")
    return report


def _spatial(node: ir.Node) -> list[int]:
    pads = attr(node, "pads")
    return [pads[1], pads[2], pads[5], pads[6]]


def _refusal(node: ir.Node) -> str | None:
    pads, mode = attr(node, "pads"), attr(node, "mode")
    if len(pads) != 8 or any(pads[axis] for axis in (0, 3, 4, 7)):
        return "it pads other axes than height and width"
    if min(pads) < 0:
        return "it cuts off (negative pads)"
    if mode not in _MODES or (mode == "constant" and attr(node, "value") != 0.0):
        return f"mode {mode} with value {attr(node, 'value')}"
    if node.outputs[0].is_graph_output() or not node.outputs[0].uses():
        return "the padded image is a graph output"
    return next(
        (
            why
            for use in node.outputs[0].uses()
            if (why := _reader_refusal(use.node, use.idx, node)) is not None
        ),
        None,
    )


def _reader_refusal(user: ir.Node, index: int, pad: ir.Node) -> str | None:
    op = op_of(user)
    own = attr(user, "pads") if "pads" in op.attributes else None
    if own is None or index != 0 or shape(user.inputs[0]) != shape(pad.outputs[0]):  # type: ignore[arg-type]
        return f"{label(user)} takes no pads"
    if "pad_mode" in op.attributes:
        if any(own) and (attr(user, "pad_mode"), _MODES[attr(pad, "mode")]) != ("zero", "zero"):
            return f"{label(user)} has {attr(user, 'pad_mode')} pads of its own"
        return None
    counts = user.op_type == "Pool2d" and attr(user, "kind") == "average" and not attr(user, "ceil_mode")
    if counts and attr(pad, "mode") == "constant" and (not any(own) or attr(user, "count_include_pad")):
        return None
    return f"{label(user)} would not count these pads"


def _widen(user: ir.Node, pad: ir.Node, pads: list[int]) -> None:
    set_attribute(user, "pads", [own + more for own, more in zip(attr(user, "pads"), pads, strict=True)])
    if "pad_mode" in op_of(user).attributes:
        set_attribute(user, "pad_mode", _MODES[attr(pad, "mode")])
    else:
        set_attribute(user, "count_include_pad", 1)
