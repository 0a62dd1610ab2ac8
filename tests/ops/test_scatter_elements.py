"""ONNX ScatterElements against onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser
from onnx_node import wanted

from tiercast import compile
from tiercast.errors import GraphError
from tiercast.session import Session


def model(at: str, updates: str, attributes: str) -> onnx.ModelProto:
    node = f"y = ScatterElements<{attributes}>(x, at, to)"
    ports = f"(float[6,6,6] x{at}, float[{updates}] to) => (float[6,6,6] y)"
    return parser.parse_model(f'<ir_version: 9, opset_import: ["" : 18]> m {ports} {{ {node} }}')


@pytest.mark.native
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_updates_smaller_than_x(tmp_path: Path, axis: int) -> None:
    random = np.random.default_rng(0)
    places = np.argsort(random.random((6, 6, 6)), axis=axis)  # no place twice in a line
    inputs = {
        "x": random.standard_normal((6, 6, 6)).astype(np.float32),
        "at": places[:3, :4, :5] - 6 * random.integers(0, 2, (3, 4, 5)),
        "to": random.standard_normal((3, 4, 5)).astype(np.float32),
    }
    made = model(", int64[3,4,5] at", "3,4,5", f"axis={axis}")
    found = Session(compile(made, output=tmp_path / "m.tcpkg")).run(inputs)
    np.testing.assert_array_equal(found["y"], wanted(made, inputs)["y"])


@pytest.mark.parametrize(
    ("index", "attributes", "why"),
    [
        (6, "axis=0", "leave an axis of 6"),
        (0, 'axis=0, reduction="add"', "reduction 'add' is not supported"),
    ],
)
def test_refusals(tmp_path: Path, index: int, attributes: str, why: str) -> None:
    made = model("", "1,1,1", attributes)
    made.graph.initializer.append(numpy_helper.from_array(np.full((1, 1, 1), index), "at"))
    with pytest.raises(GraphError, match=why):
        compile(made, output=tmp_path / "m.tcpkg")
