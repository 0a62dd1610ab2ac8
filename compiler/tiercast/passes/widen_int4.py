"""Constants in 4 bits become bytes: whoever computes with integers has them in 8."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import array, new_constant
from tiercast.ir.report import PassReport

_WIDER = {ir.DataType.INT4: np.int8, ir.DataType.UINT4: np.uint8}


def widen_int4(model: ir.Model) -> PassReport:
    """Makes INT4 and UINT4 constants that a DequantizeLinear reads INT8 and UINT8, its zero points too, in
    place.

    The package has them in 4 bits again, where they are weights of f32 arithmetic (`lower/int4_weights.py`).
    """
    report = PassReport("widen_int4")
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        if node.op_type != "DequantizeLinear" or node.domain != "":
            continue
        kind = node.inputs[0].dtype if node.inputs[0] is not None else None
        read = [(index, value) for index, value in enumerate(node.inputs) if index != 1 and value is not None]
        if kind not in _WIDER or any(array(value) is None for _, value in read):
            continue
        for index, value in read:
            data = array(value)
            assert data is not None
            wide = new_constant(model.graph, f"{value.name}.wide", data.astype(_WIDER[kind]))
            node.replace_input_with(index, wide)
        report.apply(node, f"{kind} constants are widened")
    return report
