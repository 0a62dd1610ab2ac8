"""Rnn: sequences with the batch first are the same recurrence, seen transposed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tiercast import Session, compile

pytestmark = pytest.mark.native
BATCH, STEPS, FEATURES, HIDDEN, DIRECTIONS = 3, 5, 4, 6, 2
GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}


def model(kind: str, batch_first: bool) -> onnx.ModelProto:
    """A bidirectional recurrence with an initial state."""
    random, rows = np.random.default_rng(0), GATES[kind] * HIDDEN
    weights = {
        "W": random.standard_normal((DIRECTIONS, rows, FEATURES)),
        "R": random.standard_normal((DIRECTIONS, rows, HIDDEN)),
        "B": random.standard_normal((DIRECTIONS, 2 * rows)),
    }
    x = (BATCH, STEPS, FEATURES) if batch_first else (STEPS, BATCH, FEATURES)
    h = (BATCH, DIRECTIONS, HIDDEN) if batch_first else (DIRECTIONS, BATCH, HIDDEN)
    attributes = {"hidden_size": HIDDEN, "direction": "bidirectional", "layout": int(batch_first)}
    node = helper.make_node(kind, ["x", "W", "R", "B", "", "h"], ["y", "last"], **attributes)
    graph = helper.make_graph(
        [node],
        kind,
        [helper.make_tensor_value_info("x", 1, x), helper.make_tensor_value_info("h", 1, h)],
        [helper.make_tensor_value_info("y", 1, None), helper.make_tensor_value_info("last", 1, None)],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)


@pytest.mark.parametrize("kind", GATES)
def test_batch_first_is_the_transposed_recurrence(kind: str, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    x = random.standard_normal((STEPS, BATCH, FEATURES)).astype(np.float32)
    h = random.standard_normal((DIRECTIONS, BATCH, HIDDEN)).astype(np.float32)
    plain = Session(compile(model(kind, False), output=tmp_path / "a.tcpkg")).run({"x": x, "h": h})
    swapped = {"x": x.swapaxes(0, 1), "h": h.swapaxes(0, 1)}
    first = Session(compile(model(kind, True), output=tmp_path / "b.tcpkg")).run(swapped)
    np.testing.assert_array_equal(first["y"], plain["y"].transpose(2, 0, 1, 3))
    np.testing.assert_array_equal(first["last"], plain["last"].swapaxes(0, 1))
