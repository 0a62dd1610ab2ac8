"""What each stage of the pipeline may contain: the written spec, as rules checked at its entry and exit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ir.domain import DOMAIN, QUANTIZED, input_limits, is_foreign, registered
from tiercast.ir.edit import array, static_shape
from tiercast.ir.report import label

HUB_OPSET = 23


@dataclass(frozen=True)
class Rule:
    """`broken(node)` is None, or what is wrong with the node."""

    text: str
    broken: Callable[[ir.Node], str | None]


def _static(node: ir.Node) -> str | None:
    for value in node.outputs:
        if (
            value.name
            and (value.uses() or value.is_graph_output())
            and (static_shape(value) is None or value.dtype is None)
        ):
            return f"output {value.name!r} has shape {value.shape} and type {value.type}"
    return None


def _sized(node: ir.Node) -> str | None:
    for value in node.outputs:
        dims = static_shape(value) or ()
        if max(dims, default=1) >= 1 << 31 or math.prod(dims) > 1 << 40:
            return f"output {value.name!r} has shape {'x'.join(map(str, dims))}"
    return None


def _onnx_domain(node: ir.Node) -> str | None:
    return None if node.domain == "" or is_foreign(node) else f"it is of domain {node.domain!r}"


def _onnx_or_quantized(node: ir.Node) -> str | None:
    return None if node.domain in ("", QUANTIZED) or is_foreign(node) else f"it is of domain {node.domain!r}"


def _no_constant(node: ir.Node) -> str | None:
    """Constants live on as nodes only where they are outputs of the graph."""
    kept = node.op_type != "Constant" or node.outputs[0].is_graph_output()
    return None if kept else "it is a Constant node"


def _no_identity(node: ir.Node) -> str | None:
    """Identities live on only where both ends are ports of the graph."""
    if node.op_type not in ("Identity", "Dropout"):
        return None
    return None if node.outputs[0].is_graph_output() else "it hands its input on unchanged"


def _no_batch_norm(node: ir.Node) -> str | None:
    source = (
        node.inputs[0].producer()
        if node.op_type == "BatchNormalization" and node.inputs[0] is not None
        else None
    )
    if source is None or source.op_type not in ("Conv", "ConvTranspose"):
        return None
    constant = all(
        array(value) is not None for value in [*node.inputs[1:5], *source.inputs[1:3]] if value is not None
    )
    alone = len(source.outputs[0].uses()) == 1 and not source.outputs[0].is_graph_output()
    return f"it could be folded into {label(source)}" if constant and alone else None


def _known(node: ir.Node) -> str | None:
    if node.domain != DOMAIN:
        return f"it is of domain {node.domain!r}, not {DOMAIN!r}"
    op = registered().get(node.op_type)
    if op is None:
        return f"the domain has no op {node.op_type!r}"
    unknown = set(node.attributes) - set(op.attributes)
    if unknown:
        return f"unknown attributes {sorted(unknown)}"
    least, most = input_limits(op)
    if not least <= len(node.inputs) <= most:
        return f"it has {len(node.inputs)} inputs, the op takes {least} to {most}"
    absent = [
        name
        for name, value in zip(op.inputs, node.inputs, strict=False)
        if value is None and name[-1] not in "?*"
    ]
    return f"its input {absent[0]!r} is absent" if absent else None


def _shapes_agree(node: ir.Node) -> str | None:
    op = registered().get(node.op_type)
    types = op.infer(node) if op is not None else []
    have = [(value.dtype, static_shape(value)) for value in node.outputs]
    return None if have == types else f"its outputs are {have}, its inputs make {types}"


_STATIC = Rule("every value has a static shape and an element type", _static)
_SIZED = Rule("dimensions are below 2^31, and a value has 2^40 elements at most", _sized)
_ONNX = Rule(f"only operators of ONNX opset {HUB_OPSET} and users' own that an op takes", _onnx_domain)
_QUANTIZED = Rule(f"only operators of ONNX opset {HUB_OPSET} and of {QUANTIZED}", _onnx_or_quantized)
_PHYSICAL = Rule("only ops of the tiercast domain, with attributes and inputs they have", _known)
_AGREE = Rule("output shapes and types are those the op infers", _shapes_agree)

STAGES: Mapping[str, tuple[Rule, ...]] = {
    "loaded": (_ONNX,),
    "imported": (_ONNX, Rule("constants are initializers", _no_constant)),
    "simplified": (
        _ONNX,
        _STATIC,
        _SIZED,
        Rule("constants are initializers", _no_constant),
        Rule("no identities", _no_identity),
        Rule("no batch norm that its convolution can take up", _no_batch_norm),
    ),
    "quantized": (_QUANTIZED, _STATIC),
    "laid_out": (_STATIC, _SIZED, _PHYSICAL, _AGREE),
    "fused": (_STATIC, _PHYSICAL, _AGREE, Rule("no dead nodes", lambda node: _dead(node))),
}


def _dead(node: ir.Node) -> str | None:
    used = any(value.uses() or value.is_graph_output() for value in node.outputs)
    return None if used else "nothing reads its result"


def check(model: ir.Model, stage: str) -> None:
    """Raises GraphError that names the node and the rule of `stage` (a key of STAGES) it breaks.

    Also checked at every stage: the opset, static shapes of the inputs, topological order, unique value
    names.
    """
    versions = model.graph.opset_imports
    if versions.get("", HUB_OPSET) != HUB_OPSET:
        raise GraphError(f"stage {stage!r}: the graph is of opset {versions['']}, not {HUB_OPSET}")
    for port in model.graph.inputs:
        if static_shape(port) is None or port.dtype is None:
            raise GraphError(
                f"stage {stage!r}: input {port.name!r} has shape {port.shape} and type {port.type}"
            )
    known: set[ir.Value] = {*model.graph.inputs, *model.graph.initializers.values()}
    names = {value.name for value in known}
    for node in model.graph:
        for value in node.inputs:
            if value is not None and value not in known:
                raise GraphError(f"stage {stage!r}: {label(node)} reads {value.name!r} before it is computed")
        for value in node.outputs:
            if value.name and value.name in names:
                raise GraphError(f"stage {stage!r}: {label(node)}: two values are called {value.name!r}")
            names.add(value.name)
        known.update(node.outputs)
        for rule in STAGES[stage]:
            broken = rule.broken(node)
            if broken is not None:
                raise GraphError(f"stage {stage!r}: {label(node)} breaks the rule {rule.text!r}: {broken}")
    for value in model.graph.outputs:
        if value not in known:
            raise GraphError(f"stage {stage!r}: the output {value.name!r} is never computed")
