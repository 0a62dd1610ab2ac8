"""A table of 256 bytes, looked up by bytes, is one operator."""

from __future__ import annotations

import onnx_ir as ir

from tiercast.ir.domain import QUANTIZED
from tiercast.ir.edit import array, erase, remove_dead, take_over
from tiercast.ir.report import PassReport
from tiercast.passes.quantization import BYTES


def fuse_table(model: ir.Model) -> PassReport:
    """Gather(256 bytes, Cast(bytes)) -> QuantizedLookup, in place; index -1, of s8, is the last entry."""
    report = PassReport("fuse_table")
    for node in list(model.graph):
        source = _bytes_looked_up(node)
        if source is None:
            continue
        old = node.outputs[0]
        out = ir.Value(name=f"{old.name}.lookup", shape=old.shape, type=old.type)
        made = ir.Node(QUANTIZED, "QuantizedLookup", [source, node.inputs[0]], outputs=[out], name=node.name)
        model.graph.insert_before(node, [made])
        take_over(old, out)
        erase(model.graph, [node])
        report.apply(made, "looked up by bytes")
    remove_dead(model.graph)
    return report


def _bytes_looked_up(node: ir.Node) -> ir.Value | None:
    if node.op_type != "Gather" or node.domain != "":
        return None
    table, indices = array(node.inputs[0]), node.inputs[1]
    cast = indices.producer() if indices is not None else None
    if table is None or table.shape != (256,) or table.dtype.kind not in "iu" or table.itemsize != 1:
        return None
    if cast is None or cast.op_type != "Cast" or cast.domain != "":
        return None
    source = cast.inputs[0]
    wide = indices is not None and indices.dtype in (ir.DataType.INT32, ir.DataType.INT64)
    return source if source is not None and source.dtype in BYTES and wide else None
