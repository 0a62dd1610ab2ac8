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


@pytest.mark.native
@pytest.mark.parametrize("reduction", ["add", "mul", "max", "min"])
def test_updates_that_meet(tmp_path: Path, reduction: str) -> None:
    random = np.random.default_rng(1)
    inputs = {
        "x": random.standard_normal((6, 6, 6)).astype(np.float32),
        "at": random.integers(-6, 6, (6, 9, 5)),  # more updates than places
        "to": random.standard_normal((6, 9, 5)).astype(np.float32),
    }
    made = model(", int64[6,9,5] at", "6,9,5", f'axis=1, reduction="{reduction}"')
    found = Session(compile(made, output=tmp_path / "m.tcpkg")).run(inputs)
    np.testing.assert_allclose(found["y"], wanted(made, inputs)["y"], rtol=1e-6)


def test_index_outside(tmp_path: Path) -> None:
    made = model("", "1,1,1", "axis=0")
    made.graph.initializer.append(numpy_helper.from_array(np.full((1, 1, 1), 6), "at"))
    with pytest.raises(GraphError, match="leave an axis of 6"):
        compile(made, output=tmp_path / "m.tcpkg")
