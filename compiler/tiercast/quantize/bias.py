"""Bias correction: what rounding the weights adds to a channel on average is taken off its bias.

After Nagel et al., 2019 (see equalize.py): E[W_q x] - E[W x] = (W_q - W) E[x], with E[x] of each input
channel as seen on the calibration data. Padding is not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from tiercast.ir.edit import array, new_constant, remove_dead
from tiercast.passes.quantized_products import output_axis
from tiercast.quantize import scheme
from tiercast.quantize.observe import Seen
from tiercast.quantize.units import Unit


def correct_biases(graph: ir.Graph, units: list[Unit], seen: Mapping[str, Seen]) -> int:
    """Changes the biases of convolutions and Gemms of the float graph in place; the number of those changed.

    seen: what each unit's input is, by name.
    """
    changed = 0
    for unit in units:
        node = unit.core
        known = seen.get(unit.inputs[0].name or "")
        if unit.kind != "product" or node.op_type not in ("Conv", "Gemm") or known is None:
            continue
        weight = array(node.inputs[1])
        assert weight is not None
        shift = _shift(node, weight, known.means)
        if shift is None:
            continue
        old = array(node.inputs[2]) if len(node.inputs) > 2 else None
        if len(node.inputs) > 2 and node.inputs[2] is not None and (old is None or old.size != len(shift)):
            continue
        bias = (0.0 if old is None else old.reshape(-1)) - shift
        value = new_constant(graph, f"{node.outputs[0].name}.corrected", bias.astype(np.float32))
        if len(node.inputs) > 2:
            node.replace_input_with(2, value)
        else:
            node.resize_inputs(3)
            node.replace_input_with(2, value)
        changed += 1
    remove_dead(graph)
    return changed


def _shift(node: ir.Node, weight: np.ndarray, means: np.ndarray) -> np.ndarray | None:
    """(W_q - W) E[x] for each output channel; None where the shapes are none that are summed here."""
    axis = output_axis(node, weight.ndim)
    scales = scheme.weight_scales(weight, axis)
    along = [1] * weight.ndim
    along[axis] = -1
    error = scheme.weight_integers(weight, scales, axis) * scales.reshape(along).astype(np.float64) - weight
    if node.op_type == "Gemm":
        columns = error if axis == 0 else error.T
        return columns @ means if columns.shape[1] == len(means) else None
    groups = node.attributes["group"].as_int() if "group" in node.attributes else 1
    if error.shape[1] * groups != len(means):
        return None
    per_tap = error.sum(axis=tuple(range(2, error.ndim)))
    spread = np.repeat(means.reshape(groups, -1), len(per_tap) // groups, axis=0)
    shift: np.ndarray = (per_tap * spread).sum(axis=1)
    return shift
