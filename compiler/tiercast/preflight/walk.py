"""Compiles a model for the record: all stages, refusals collected instead of raised, nothing written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from tiercast.errors import GraphError, ModelError, TiercastError, UnsupportedError, UsageError
from tiercast.frontend import load
from tiercast.ir.refusals import NOT_SUPPORTED, Refusal, collect
from tiercast.ir.report import PassReport, name_of, operator_of
from tiercast.ir.support import runtime_nodes
from tiercast.lower.calls import GraphLowering, dtype_name
from tiercast.lower.lowering import refusals
from tiercast.lower.storage import place_values
from tiercast.ops.lowering import KernelCall
from tiercast.passes.assign_layout import assign_layout
from tiercast.passes.choose_precision import request_half
from tiercast.pipeline import STAGES, Stage, check_precision, resolve, stored_weights
from tiercast.preflight.rewrites import OTHERWISE, nearest_rewrite
from tiercast.target import Target
from tiercast.tuning import Decisions


@dataclass(frozen=True)
class Origin:
    """A node of the model as it was loaded: operator, name, and the names of its results."""

    op: str
    name: str
    outputs: tuple[str, ...]


@dataclass
class Walk:
    """What one walk saw.

    nodes: the loaded model's, those that have to run. legalized: name of an ONNX node's first result ->
    physical ops that `assign_layout` made for it. remained: results still there before `assign_layout`.
    calls: result name -> kernel calls that compute it.
    """

    source: str
    target: Target
    precision: str
    nodes: list[Origin] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    remained: set[str] = field(default_factory=set)
    legalized: dict[str, list[str]] = field(default_factory=dict)
    calls: dict[str, list[KernelCall]] = field(default_factory=dict)
    reports: list[PassReport] = field(default_factory=list)
    copies: list[str] = field(default_factory=list)


def walk(
    source: Any,
    target: str,
    inputs: Mapping[str, Sequence[int]],
    precision: str,
    dtypes: Mapping[str, str],
) -> Walk:
    """Loads, runs all stages and lowers node by node; see `preflight.check` for the arguments and errors."""
    chosen = resolve(target)
    check_precision(precision, chosen)
    found = Walk(str(source) if isinstance(source, str) else type(source).__name__, chosen, precision)
    with collect() as refused:
        model = _load(source, inputs, dtypes, refused)
        if model is not None:
            found.nodes = [_origin(node) for node in runtime_nodes(model.graph)]
            inputs_before = {value.name for value in model.graph.inputs}
            _run_stages(model, found, refused)
            ports = [value for value in model.graph.inputs if value.name in inputs_before]
            ports += [value for value in model.graph.outputs if "port" in value.metadata_props]
            _check_ports(ports, refused)
            _lower(model, found, refused)
        found.refused = refused
    return found


def stem(node: ir.Node) -> str:
    """The ONNX result that a physical node was made for: the first part of its name."""
    return (node.name or "").rpartition("/")[0]


def _origin(node: ir.Node) -> Origin:
    return Origin(operator_of(node), name_of(node), tuple(value.name or "" for value in node.outputs))


def _load(
    source: Any, inputs: Mapping[str, Sequence[int]], dtypes: Mapping[str, str], refused: list[Refusal]
) -> ir.Model | None:
    try:
        shapes = {name: tuple(dims) for name, dims in inputs.items()}
        return load(source, shapes, dtypes=dtypes, check_import=False)
    except UsageError:
        raise
    except UnsupportedError as error:  # a reader that can't go on behind operators it does not know
        refused += [Refusal(op, name, NOT_SUPPORTED) for op, names in error.missing.items() for name in names]
    except ModelError as error:
        if not refused and nearest_rewrite("", str(error)) == OTHERWISE:
            raise  # not a model, or one that its own framework refuses for reasons of its own
        refused.append(Refusal("", "", str(error)))
    return None


def _run_stages(model: ir.Model, found: Walk, refused: list[Refusal]) -> None:
    decisions = Decisions(found.target)
    for stage in STAGES:
        if stage.run is assign_layout:
            found.remained = {value.name or "" for node in model.graph for value in node.outputs}
            if found.precision == "f16":
                request_half(model, {})
        try:
            report = stage.apply(model, decisions)
            if isinstance(stage, Stage):  # what a deciding one refuses would be slower here
                found.reports.append(report)
        except GraphError as error:
            refused.append(Refusal("", "", f"{stage.name}: {error}"))
        except ModelError as error:
            refused.append(Refusal("", "", str(error)))
        if stage.run is assign_layout:
            for node in model.graph:
                found.legalized.setdefault(stem(node), []).append(node.op_type)


def _check_ports(ports: Sequence[ir.Value], refused: list[Refusal]) -> None:
    for value in ports:
        try:
            dtype_name(value)
        except GraphError as error:
            name = value.metadata_props.get("port", value.name or "")
            if not any(name == item.result for item in refused):
                refused.append(Refusal("", name, str(error), name))


def _lower(model: ir.Model, found: Walk, refused: list[Refusal]) -> None:
    low = GraphLowering(
        Decisions(found.target), place_values(model.graph), stored=stored_weights(found.precision)
    )
    for node in model.graph:
        before = len(low.calls)
        try:
            low.lower(node)
        except TiercastError as error:
            name = stem(node)
            op = next((item.op for item in found.nodes if name in item.outputs), node.op_type)
            refused.append(Refusal(op, name, str(error), name))
        made = low.calls[before:]
        if made:
            found.calls.setdefault(stem(node), []).extend(made)
    found.copies = refusals(model)
