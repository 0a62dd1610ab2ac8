"""What an op can do to its result before it stores it: activation, slope, bias, residual."""

from __future__ import annotations

import onnx_ir as ir

from tiercast.ir.edit import only_user
from tiercast.ops.program import Program, parse
from tiercast.ops.registry import DOMAIN, Op, attr, op_of


def program_of(node: ir.Node | None) -> Program | None:
    """The program of a Pointwise node, None for any other node."""
    if node is None or node.domain != DOMAIN or node.op_type != "Pointwise":
        return None
    return parse(attr(node, "program"))


def producer_behind(value: ir.Value) -> tuple[ir.Node | None, str | None]:
    """The node that computes `value`, looking through reshapes (which keep the elements), and why it may not
    be changed.

    The second item is None when nothing else reads what lies between.
    """
    node = value.producer()
    shared = only_user(value) is None
    while node is not None and node.domain == DOMAIN and node.op_type == "Reshape":
        source = node.inputs[0]
        assert source is not None
        shared = shared or only_user(source) is None
        node = source.producer()
    return node, "its result is read elsewhere too" if shared else None


def epilogue_op(node: ir.Node | None) -> Op | None:
    """The node's op when it has an activation attribute."""
    if node is None or node.domain != DOMAIN:
        return None
    op = op_of(node)
    return op if "activation" in op.attributes else None


def is_finished(node: ir.Node) -> str | None:
    """Why nothing more fits into the node's epilogue, None when an activation still does."""
    if attr(node, "gated", 0):
        return "it is gated"
    if attr(node, "activation") != "none":
        return f"it has the activation {attr(node, 'activation')} already"
    if attr(node, "residual_mode", "none") not in ("none", "add"):
        return f"it ends in {attr(node, 'residual_mode')}"
    return None


def mark_inner(producer: ir.Node, final: ir.Value) -> None:
    """The producer's own output, when a reshape stands between, holds no value of the model any more."""
    inner = producer.outputs[0]
    if inner is not final:
        inner.metadata_props.pop("source", None)
        inner.metadata_props.pop("perm", None)
