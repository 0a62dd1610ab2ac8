"""A graph as text, one line per node, for `--print-after` and for reading."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tiercast.ir.dtypes import NAMES
from tiercast.ir.edit import array, static_shape

_SMALL = 8  # constants of up to so many elements are written out


def to_text(model: ir.Model) -> str:
    """The whole graph: inputs, then one line per node in order, then outputs.

    %y: f32[1,64,64,16] = Conv2d(%x, const f32[16,3,3,3]) strides=[2, 2] activation=relu
    """
    graph = model.graph
    lines = [
        f"graph {graph.name or 'main'}({', '.join(f'%{port.name}: {_type(port)}' for port in graph.inputs)})"
    ]
    lines += [f"  {_node(node)}" for node in graph]
    return "\n".join([*lines, f"  return {', '.join(f'%{port.name}' for port in graph.outputs)}"])


def _node(node: ir.Node) -> str:
    made = ", ".join(f"%{value.name}: {_type(value)}" for value in node.outputs if value.name)
    operands = ", ".join(_operand(value) for value in node.inputs)
    attributes = "".join(
        f" {attribute.name}={_attribute(attribute)}" for attribute in node.attributes.values()
    )
    return f"{made} = {node.op_type}({operands}){attributes}"


def _type(value: ir.Value) -> str:
    kind = NAMES.get(value.dtype, value.dtype.name.lower()) if value.dtype is not None else "?"
    dims = static_shape(value)
    return f"{kind}[{','.join(map(str, dims)) if dims is not None else '?'}]"


def _operand(value: ir.Value | None) -> str:
    if value is None:
        return "-"
    data = array(value)
    if data is None:
        return f"%{value.name}"
    if data.size <= _SMALL:
        return f"const {_type(value)} {np.array2string(data.reshape(-1), separator=', ', max_line_width=200)}"
    return f"const {_type(value)}"


def _attribute(attribute: ir.Attr) -> str:
    if attribute.type == ir.AttributeType.TENSOR:
        tensor = attribute.as_tensor()
        return f"tensor{list(tensor.shape)}"
    value = attribute.value
    return (
        f"[{'; '.join(value)}]"
        if isinstance(value, (list, tuple)) and value and isinstance(value[0], str)
        else str(value)
    )
