"""Emitted: a call of a kernel that was made for this model's shapes alone; it comes with the model."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ops.lowering import Lowering
from tiercast.ops.registry import REQUIRED, Op, attr, where


class Emitted(Op):
    """outputs = kernel(inputs): dense, any types. `kernel` is the op of its rows, `results` the element type
    and dims of each output, "FLOAT:1x3x4,INT64:scalar", `scratch` the bytes that a call works in.
    """

    inputs = ("x*",)
    attributes: ClassVar = {
        "kernel": REQUIRED,
        "results": REQUIRED,
        "scratch": 0,
    }

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """As the attributes say."""
        text = attr(node, "results")
        found = []
        for item in text.split(","):
            kind, _, dims = item.partition(":")
            sizes = [] if dims == "scalar" else dims.split("x")
            if kind not in ir.DataType.__members__ or not all(size.isdecimal() for size in sizes):
                raise GraphError(f'{where(node)}: results {text!r} are not like "FLOAT:1x3x4,INT64:scalar"')
            found.append((ir.DataType[kind], tuple(int(size) for size in sizes)))
        return found

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """One call."""
        row = low.choose(attr(node, "kernel"))
        low.call(node, row, list(node.inputs), list(node.outputs), {}, attr(node, "scratch"))
