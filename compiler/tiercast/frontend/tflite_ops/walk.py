"""Translating a subgraph operator by operator, after checking that all of them can be."""

from __future__ import annotations

from collections.abc import Iterator

from tiercast.errors import ModelError, UnsupportedError
from tiercast.frontend.tflite_ops.batches import find_dilations
from tiercast.frontend.tflite_ops.file import Operator, Subgraph, TfliteModel
from tiercast.frontend.tflite_ops.scope import Scope
from tiercast.frontend.tflite_ops.table import handlers

MAX_DEPTH = 16


def run_subgraph(scope: Scope) -> None:
    """Translates every operator, in the file's order; ModelError names the operator that refuses."""
    if scope.depth > MAX_DEPTH:
        raise ModelError(f"subgraphs call each other more than {MAX_DEPTH} deep: the file is damaged")
    for op in find_dilations(scope, scope.graph):
        scope.builder.start(_stem(scope, op))
        try:
            translation = handlers()[op.name]
            translation.check(op)
            translation.run(scope, op)
        except ModelError as error:
            raise ModelError(f"{label(scope.graph, op)}: {error}") from error


def check_operators(model: TfliteModel, origin: str) -> None:
    """Raises UnsupportedError that names every operator that is not translated, and where it stands."""
    missing: dict[str, list[str]] = {}
    for graph, op in _reachable(model):
        if op.name not in handlers():
            made = (
                graph.tensors[op.outputs[0]].name
                if op.outputs and op.outputs[0] >= 0
                else f"operator {op.index}"
            )
            missing.setdefault(op.name, []).append(made)
    if missing:
        raise UnsupportedError(missing, origin)


def label(graph: Subgraph, op: Operator) -> str:
    """How errors name an operator: operator 12 (ADD) "the tensor it makes"."""
    made = graph.tensors[op.outputs[0]].name if op.outputs and op.outputs[0] >= 0 else "?"
    return f'operator {op.index} ({op.name}) "{made}"'


def _reachable(model: TfliteModel) -> Iterator[tuple[Subgraph, Operator]]:
    seen, waiting = {0}, [0]
    while waiting:
        graph = model.subgraphs[waiting.pop()]
        for op in graph.operators:
            yield graph, op
            for name, value in op.options.items():
                if (
                    name.endswith(("SubgraphIndex", "Subgraph"))
                    and 0 <= int(value) < len(model.subgraphs)
                    and value not in seen
                ):
                    seen.add(int(value))
                    waiting.append(int(value))


def _stem(scope: Scope, op: Operator) -> str:
    return scope.tensor(op.outputs[0]).name if op.outputs and op.outputs[0] >= 0 else op.kind
