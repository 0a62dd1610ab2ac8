"""The recurrent operators of ONNX that given weights may be meant for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
# Keras' order of gates first: i f c o for ONNX's i o f c, z r h for z r h.
_ORDERS: dict[str, list[tuple[int, ...]]] = {
    "LSTM": [(0, 3, 1, 2), *itertools.permutations(range(4))],
    "GRU": list(itertools.permutations(range(3))),
    "RNN": [(0,)],
}


@dataclass(frozen=True)
class Weights:
    """x·kernel + h·recurrent + biases, gates side by side; states: the loop's inputs that hold h (and c)."""

    kernel: np.ndarray
    recurrent: np.ndarray
    biases: Sequence[np.ndarray]
    sequence: str
    states: Sequence[str]


Candidate = tuple[list[NodeProto], list[TensorProto], list[str]]


def candidates(stem: str, weights: Weights, constants: Mapping[str, np.ndarray]) -> Iterator[Candidate]:
    """Operators that the weights may be meant for: nodes, initializers and the names of their results.

    stem: what new names start with. constants: arrays by name, of the states that are no computed values.
    """
    hidden, columns = weights.recurrent.shape
    for op_type, gates in _GATES.items():
        if columns != gates * hidden or weights.kernel.shape[1] != columns:
            continue
        if (op_type == "LSTM") != (len(weights.states) == 2):
            continue
        for order in _ORDERS[op_type]:
            for pair in _bias_pairs(weights.biases, columns):
                for states in itertools.permutations(weights.states):
                    yield _candidate(stem, weights, constants, op_type, order, pair, states)


def _bias_pairs(vectors: Sequence[np.ndarray], columns: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Which biases belong to the input and which to the state: it matters to the GRU alone."""
    zero = np.zeros(columns, np.float32)
    if len(vectors) > 4:
        return
    for choice in itertools.product((True, False), repeat=len(vectors)):
        own = [vector for vector, chosen in zip(vectors, choice, strict=True) if chosen]
        other = [vector for vector, chosen in zip(vectors, choice, strict=True) if not chosen]
        yield sum(own, zero), sum(other, zero)


def _candidate(
    stem: str,
    weights: Weights,
    constants: Mapping[str, np.ndarray],
    op_type: str,
    order: Sequence[int],
    biases: tuple[np.ndarray, np.ndarray],
    states: Sequence[str],
) -> Candidate:
    hidden = weights.recurrent.shape[0]

    def gates(array: np.ndarray) -> np.ndarray:
        parts = [array[..., gate * hidden : (gate + 1) * hidden] for gate in order]
        return np.ascontiguousarray(np.concatenate(parts, -1).T[None])

    both = np.concatenate([gates(biases[0])[0], gates(biases[1])[0]])[None]
    arrays = {
        f"{stem}/W": gates(weights.kernel),
        f"{stem}/R": gates(weights.recurrent),
        f"{stem}/B": both,
        f"{stem}/first": np.array([0]),
        f"{stem}/second": np.array([1]),
    }
    nodes, starts = [], []
    for index, state in enumerate(states):
        if state in constants:
            arrays[f"{stem}/start{index}"] = constants[state][None].astype(np.float32)
        else:
            nodes.append(
                helper.make_node(
                    "Unsqueeze", [state, f"{stem}/first"], [f"{stem}/start{index}"], f"{stem}/s{index}"
                )
            )
        starts.append(f"{stem}/start{index}")
    results = [f"{stem}/Y", f"{stem}/Y_h", f"{stem}/Y_c"][: 1 + len(states)]
    inputs = [weights.sequence, f"{stem}/W", f"{stem}/R", f"{stem}/B", "", *starts]
    attributes = {"hidden_size": hidden} | ({"linear_before_reset": 1} if op_type == "GRU" else {})
    nodes.append(helper.make_node(op_type, inputs, results, name=stem, **attributes))
    for result in results:
        axis = f"{stem}/second" if result.endswith("/Y") else f"{stem}/first"
        nodes.append(helper.make_node("Squeeze", [result, axis], [f"{result}/flat"], name=f"{result}/flat"))
    initializers = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    return nodes, initializers, [f"{result}/flat" for result in results]
