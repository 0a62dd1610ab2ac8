"""Cases of kernels on windows: operands that are channel ranges of wider tensors, as split makes them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.kernel import Case
from tiercast.lower.case import layout_model
from tiercast.lower.lowering import refusals
from tiercast.ops.layouter import Layouter
from tiercast.ops.registry import const, dtype, ops, shape

BEFORE, AFTER = 3, 2  # odd borders of a window: its rows are aligned to an element, no more


def windowed_model(
    case: Case, made: ir.Model, inputs: dict[str, np.ndarray]
) -> tuple[ir.Model, dict[str, np.ndarray]]:
    """A case's model (`case_model`) with its operands as channel windows of wider tensors, where its op takes
    strides, and its outputs behind `beside<k>`, an input; with the arrays for its inputs.

    Raises GraphError where a window would be copied.
    """
    op, layout = ops()[case.op], Layouter()
    (node,) = made.graph
    graph_inputs: list[ir.Value] = []
    arrays: dict[str, np.ndarray] = {}

    def graph_input(name: str, array: np.ndarray) -> ir.Value:
        arrays[name] = array
        kind = ir.TensorType(ir.DataType.from_numpy(array.dtype))
        graph_inputs.append(ir.Value(name=name, shape=ir.Shape(array.shape), type=kind))
        return graph_inputs[-1]

    def operand(value: ir.Value | None) -> ir.Value | None:
        if value is None:
            return None
        array = const(value)
        if array is not None:
            return layout.constant(array, str(value.name))
        dense = inputs[str(value.name)]
        if not op.strided_inputs or not dense.ndim:
            return graph_input(str(value.name), dense)
        wide = graph_input(str(value.name), _framed(dense))
        starts = [0] * (dense.ndim - 1) + [BEFORE]
        return layout.emit("Slice", [wide], {"starts": starts, "sizes": list(dense.shape)})[0]

    outputs = layout.emit(
        case.op, [operand(value) for value in node.inputs], case.attributes, len(node.outputs)
    )
    if op.strided_outputs:
        outputs = [_beside(layout, number, value, graph_input) for number, value in enumerate(outputs)]
    model = layout_model(layout, case.op, graph_inputs, outputs)
    copied = [line for line in refusals(model) if "graph input" not in line]
    if copied:
        raise GraphError(f"{case.op}: a window of an operand is not taken as it is: {'; '.join(copied)}")
    return model, arrays


def _framed(dense: np.ndarray) -> np.ndarray:
    # What lies outside the window is poison: a kernel that reads it can't be right.
    wide = np.zeros((*dense.shape[:-1], BEFORE + dense.shape[-1] + AFTER), dense.dtype)
    wide[...] = np.nan if dense.dtype.kind == "f" else 1
    wide[..., BEFORE : BEFORE + dense.shape[-1]] = dense
    return wide


def _beside(
    layout: Layouter, number: int, value: ir.Value, graph_input: Callable[[str, np.ndarray], ir.Value]
) -> ir.Value:
    dims = shape(value)
    if not dims:
        return value
    array = np.full((*dims[:-1], BEFORE), 77, dtype(value).numpy())
    return layout.emit("Concat", [graph_input(f"beside{number}", array), value], {"axis": len(dims) - 1})[0]
