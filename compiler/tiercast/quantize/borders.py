"""What quantizing and dequantizing a value costs on a target: measured on packages that do just that."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tiercast.pipeline import compile
from tiercast.quantize.costs import Costs, measure_packages
from tiercast.quantize.layers import Border, plain

_SIZES = (1 << 10, 1 << 14, 1 << 17)  # elements; a line is laid through their costs


def with_border_costs(
    borders: Sequence[Border], s8: Costs, target: str, cpu: str | None, seconds: float
) -> list[Border]:
    """The borders with the costs of quantizing and of dequantizing their values on the target.

    s8: of the package with all on integers: what it quantizes is known from there, memory order and all.
    """
    (quantize_base, quantize), (dequantize_base, dequantize) = conversion_costs(target, cpu, seconds)
    known = {border.name for border in borders}
    met: dict[str, float] = {}
    for names, cost in s8.steps:
        name = plain(names[0], known)
        if name != names[0]:  # its integers
            met[name] = met.get(name, 0.0) + cost
    made = []
    for border in borders:
        whole = quantize_base + quantize * border.elements
        if border.maker is None:
            whole = met.get(border.name, whole)
        back = dequantize_base + dequantize * border.elements
        made.append(replace(border, quantize_cost=whole, dequantize_cost=back))
    return made


def conversion_costs(
    target: str, cpu: str | None = None, seconds: float = 0.3
) -> tuple[tuple[float, float], tuple[float, float]]:
    """(cost of a step, cost of an element) of quantize and of dequantize on the target."""
    with tempfile.TemporaryDirectory(prefix="tiercast-borders-") as folder:
        package = compile(_conversions(), target, Path(folder) / "borders.tcpkg")
        costs = measure_packages([package], target, cpu, seconds)[0].by_value
    points = {kind: [costs[f"{kind}{size}"] for size in _SIZES] for kind in ("q", "dq")}
    return _line(points["q"]), _line(points["dq"])


def _line(costs: Sequence[float]) -> tuple[float, float]:
    """base + slope * elements, neither below 0; the slope between the largest two."""
    slope = max((costs[-1] - costs[-2]) / (_SIZES[-1] - _SIZES[-2]), 0.0)
    return max(min(cost - slope * size for cost, size in zip(costs, _SIZES, strict=True)), 0.0), slope


def _conversions() -> onnx.ModelProto:
    values: dict[str, np.ndarray] = {"s": np.asarray(0.1, np.float32), "z": np.asarray(0, np.int8)}
    constants = [numpy_helper.from_array(data, name) for name, data in values.items()]
    nodes, inputs, outputs = [], [], []
    for size in _SIZES:
        for kind, op_type, source, made in (
            ("q", "QuantizeLinear", onnx.TensorProto.FLOAT, onnx.TensorProto.INT8),
            ("dq", "DequantizeLinear", onnx.TensorProto.INT8, onnx.TensorProto.FLOAT),
        ):
            nodes.append(
                helper.make_node(op_type, [f"x{kind}{size}", "s", "z"], [f"{kind}{size}"], f"{kind}{size}")
            )
            inputs.append(helper.make_tensor_value_info(f"x{kind}{size}", source, [1, size]))
            outputs.append(helper.make_tensor_value_info(f"{kind}{size}", made, [1, size]))
    graph = helper.make_graph(nodes, "borders", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
