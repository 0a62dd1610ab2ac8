"""ONNX GRU, LSTM and RNN against onnxruntime, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper
from onnx_node import assert_same, model_of, random

from tiercast import compile
from tiercast.errors import ModelError

GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}
STEPS, BATCH, FEATURES, HIDDEN = 5, 3, 7, 19


def operands(op: str, directions: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The input, and W, R and B."""
    rows = GATES[op] * HIDDEN
    constants = {
        "w": random(directions, rows, FEATURES, scale=0.4),
        "r": random(directions, rows, HIDDEN, scale=0.3),
        "b": random(directions, 2 * rows, scale=0.3),
    }
    return {"x": random(STEPS, BATCH, FEATURES)}, constants


@pytest.mark.native
@pytest.mark.parametrize("states", [False, True])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("op", "reset"), [("GRU", 0), ("GRU", 1), ("LSTM", None), ("RNN", None)])
def test_layers(tmp_path: Path, op: str, reset: int | None, direction: str, states: bool) -> None:
    directions = 2 if direction == "bidirectional" else 1
    inputs, constants = operands(op, directions)
    names = ["x", "w", "r", "b", ""]
    for name in (["h0", "c0"] if op == "LSTM" else ["h0"]) if states else []:
        inputs[name] = random(directions, BATCH, HIDDEN)
        names.append(name)
    attributes: dict[str, Any] = {"hidden_size": HIDDEN, "direction": direction}
    if reset is not None:
        attributes["linear_before_reset"] = reset
    outputs = ["y", "h", "c"] if op == "LSTM" else ["y", "h"]
    assert_same(tmp_path, helper.make_node(op, names, outputs, **attributes), inputs, constants)


@pytest.mark.native
def test_only_the_last_state(tmp_path: Path) -> None:
    inputs, constants = operands("GRU", 1)
    node = helper.make_node("GRU", ["x", "w", "r", "b"], ["", "h"], hidden_size=HIDDEN)
    assert_same(tmp_path, node, inputs, constants)


@pytest.mark.parametrize(
    ("attributes", "rule"),
    [({"clip": 3.0}, "clip"), ({"activations": ["Tanh", "Tanh"]}, "activations")],
)
def test_refusals(attributes: dict[str, Any], rule: str) -> None:
    inputs, constants = operands("GRU", 1)
    node = helper.make_node("GRU", ["x", "w", "r", "b"], ["y"], hidden_size=HIDDEN, **attributes)
    with pytest.raises(ModelError, match=rule):
        compile(model_of(node, inputs, constants), output="unused.tcpkg")


def test_lengths_of_rows_are_refused() -> None:
    inputs, constants = operands("GRU", 1)
    constants["lengths"] = np.array([5, 4, 5], np.int32)
    node = helper.make_node("GRU", ["x", "w", "r", "b", "lengths"], ["y"], hidden_size=HIDDEN)
    with pytest.raises(ModelError, match="sequence_lens"):
        compile(model_of(node, inputs, constants), output="unused.tcpkg")
