"""Control flow that is decided when the model is compiled: a branch is taken, a loop is unrolled."""

from __future__ import annotations

from collections.abc import Sequence

from tiercast.errors import ModelError
from tiercast.frontend.tflite_ops.file import Operator, Subgraph
from tiercast.frontend.tflite_ops.scope import Scope
from tiercast.frontend.tflite_ops.table import options, translates
from tiercast.frontend.tflite_ops.walk import run_subgraph

MAX_TURNS = 1024


@translates("IF")
def branch(scope: Scope, op: Operator) -> None:
    """Takes the branch that its constant condition chooses."""
    chosen = options(op, "IfOptions")
    condition = bool(scope.constant(op.inputs[0], "the condition").reshape(-1)[0])
    graph = _body(scope, int(chosen["ThenSubgraphIndex" if condition else "ElseSubgraphIndex"]))
    _bind(scope, op, _call(scope, graph, [(scope, index) for index in op.inputs[1:]]))


@translates("CALL", inputs=0)
def call(scope: Scope, op: Operator) -> None:
    """Runs another subgraph."""
    graph = _body(scope, int(options(op, "CallOptions")["Subgraph"]))
    _bind(scope, op, _call(scope, graph, [(scope, index) for index in op.inputs]))


@translates("STABLEHLO_COMPOSITE", inputs=0)
def composite(scope: Scope, op: Operator) -> None:
    """An operator that a converter has named; the subgraph that it says to mean the same is run."""
    graph = _body(scope, int(options(op, "StableHLOCompositeOptions")["DecompositionSubgraphIndex"]))
    _bind(scope, op, _call(scope, graph, [(scope, index) for index in op.inputs]))


@translates("WHILE")
def loop(scope: Scope, op: Operator) -> None:
    """Unrolled: every turn's condition must follow from constants, as a counter's does."""
    chosen = options(op, "WhileOptions")
    condition = _body(scope, int(chosen["CondSubgraphIndex"]))
    body = _body(scope, int(chosen["BodySubgraphIndex"]))
    state: list[tuple[Scope, int]] = [(scope, index) for index in op.inputs]
    for _ in range(MAX_TURNS):
        (verdict,) = _call(scope, condition, state)
        array = verdict[0].array(verdict[1])
        if array is None:
            raise ModelError("how often the loop turns depends on data")
        if not bool(array.reshape(-1)[0]):
            _bind(scope, op, state)
            return
        state = _call(scope, body, state)
    raise ModelError(f"the loop turns more than {MAX_TURNS} times")


def _call(scope: Scope, graph: Subgraph, arguments: Sequence[tuple[Scope, int]]) -> list[tuple[Scope, int]]:
    """Translates a body with its inputs bound; its results as (scope, tensor)."""
    inner = Scope(scope.model, graph, scope.builder, scope.depth + 1)
    if len(graph.inputs) != len(arguments):
        raise ModelError(f"subgraph {graph.name!r} takes {len(graph.inputs)} inputs, not {len(arguments)}")
    for index, (outer, given) in zip(graph.inputs, arguments, strict=True):
        inner.adopt(index, outer, given)
    run_subgraph(inner)
    return [(inner, index) for index in graph.outputs]


def _bind(scope: Scope, op: Operator, results: Sequence[tuple[Scope, int]]) -> None:
    for out, (inner, index) in zip(op.outputs, results, strict=True):
        scope.adopt(out, inner, index)


def _body(scope: Scope, index: int) -> Subgraph:
    if not 0 < index < len(scope.model.subgraphs):
        raise ModelError(f"its body is subgraph {index} of {len(scope.model.subgraphs)}: the file is damaged")
    return scope.model.subgraphs[index]
