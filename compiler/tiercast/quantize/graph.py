"""The float graph that quantizing begins with, and what our own passes make of a quantized one."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from tiercast.errors import UsageError
from tiercast.ir.edit import remove_dead
from tiercast.ir.report import PassReport
from tiercast.lower.calls import dtype_name
from tiercast.lower.plan import Port
from tiercast.ops.registry import shape
from tiercast.passes.move_quantization import move_quantization
from tiercast.passes.quantization import Quantization
from tiercast.passes.quantize_operators import quantize_operators
from tiercast.pipeline import compile_plan
from tiercast.quantize.insert import Range, insert_quantization
from tiercast.quantize.observe import copied
from tiercast.quantize.units import Unit

_LAST_FLOAT_STAGE = "fuse_softmax"  # the pass before those that read quantization


def float_graph(source: Any, inputs: Mapping[str, Sequence[int]] | None = None, **options: Any) -> ir.Model:
    """A model of any front end, simplified, batch norms folded, still ONNX.

    options: as `pipeline.compile_plan` takes them (dtypes, check_import, ops).
    UsageError when it is quantized already.
    """
    model = compile_plan(source, "host", inputs, until=_LAST_FLOAT_STAGE, **options).model
    remove_dead(model.graph)
    there = next(
        (node for node in model.graph if node.op_type in ("QuantizeLinear", "DequantizeLinear")), None
    )
    if there is not None:
        raise UsageError(
            f"{model.metadata_props.get('origin', 'the model')} is quantized already (node {there.name!r}); "
            "compile it as it is, its own scales are kept"
        )
    return model


def ports_of(model: ir.Model) -> list[Port]:
    """The model's inputs."""
    return [Port(value.name or "", dtype_name(value), shape(value)) for value in model.graph.inputs]


@dataclass(frozen=True)
class Trial:
    """A quantized graph (QDQ), its points, and what our passes say of it.

    refused: unit name -> why the integer form that it was given is none; then it must stay f32.
    """

    model: ir.Model
    points: Mapping[str, Quantization]
    report: PassReport
    refused: Mapping[str, str]


def try_integers(
    model: ir.Model, units: Sequence[Unit], chosen: Collection[str], ranges: Mapping[str, Range]
) -> Trial:
    """Quantizes these units of a copy of the float graph, and lets our passes bring a further copy to
    integers."""
    made = copied(model)
    points = insert_quantization(made, chosen, ranges)
    integers = copied(made)
    move_quantization(integers)
    report = quantize_operators(integers)
    results = {unit.output.name: unit.name for unit in units if unit.name in chosen}
    cores = {unit.core.name: unit.name for unit in units if unit.name in chosen and unit.core.name}
    refused = {}
    for text, reason in report.refused:
        name, operator = _named(text)
        owner = results.get(name.removesuffix(".q")) if operator == "QuantizeLinear" else cores.get(name)
        if owner is not None:
            refused[owner] = reason
    return Trial(made, points, report, refused)


def run_on_integers(
    model: ir.Model, units: Sequence[Unit], chosen: Collection[str], ranges: Mapping[str, Range]
) -> tuple[Trial, dict[str, str]]:
    """The trial in which all that is chosen runs on integers: what our passes refuse is left f32.

    Returns it, and the units left out with the reason of each.
    """
    left: dict[str, str] = {}
    wanted = set(chosen)
    while True:
        trial = try_integers(model, units, wanted, ranges)
        if not trial.refused:
            return trial, left
        left.update(trial.refused)
        wanted -= set(trial.refused)


def _named(label: str) -> tuple[str, str]:
    """Name and operator of a node from what reports call it."""
    found = re.fullmatch(r'node "(.*)" \((.*)\)', label)
    return (found[1], found[2]) if found else ("", "")
