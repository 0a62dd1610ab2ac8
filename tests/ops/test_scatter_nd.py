"""ONNX ScatterND against numpy and onnxruntime."""

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


def model(ports: str, out: str, reduction: str = "none") -> onnx.ModelProto:
    node = f'y = ScatterND<reduction="{reduction}">(x, at, to)'
    head = '<ir_version: 9, opset_import: ["" : 18]>'
    return parser.parse_model(f"{head} m ({ports}) => ({out} y) {{ {node} }}")


@pytest.mark.native
@pytest.mark.parametrize("kind", ["float", "int64", "uint8"])
@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
def test_rows_and_elements(tmp_path: Path, kind: str, reduction: str) -> None:
    random, numpy_kind = np.random.default_rng(0), {"float": np.float32}.get(kind, kind)
    for depth, left in ((1, (20, 3)), (2, (3,)), (3, ())):
        tuples = random.integers(0, (40, 20, 3)[:depth], (50, depth))
        if reduction == "none":
            tuples = np.unique(tuples, axis=0)  # of two updates of one place, either may stay
        count = len(tuples)
        inputs = {
            "x": (random.standard_normal((40, 20, 3)) * 9).astype(numpy_kind),
            "at": tuples - np.array((40, 20, 3)[:depth]) * random.integers(0, 2, (count, 1)),
            "to": (random.standard_normal((count, *left)) * 9).astype(numpy_kind),
        }
        sizes = ",".join(map(str, (count, *left)))
        ports = f"{kind}[40,20,3] x, int64[{count},{depth}] at, {kind}[{sizes}] to"
        made = model(ports, f"{kind}[40,20,3]", reduction)
        found = Session(compile(made, output=tmp_path / "m.tcpkg")).run(inputs)
        np.testing.assert_allclose(found["y"], wanted(made, inputs)["y"], rtol=1e-5)


@pytest.mark.native
def test_a_tuple_outside_changes_nothing(tmp_path: Path) -> None:
    made = model("float[4,3] x, int64[2,1] at, float[2,3] to", "float[4,3]")
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    inputs = {"x": x, "at": np.array([[4], [-1]]), "to": np.full((2, 3), 50, np.float32)}
    found = Session(compile(made, output=tmp_path / "m.tcpkg")).run(inputs)["y"]
    np.testing.assert_array_equal(found, np.concatenate([x[:3], np.full((1, 3), 50)]))


@pytest.mark.parametrize(
    ("kind", "index", "reduction", "why"),
    [
        ("float", 6, "none", "leave an axis of 6"),
        ("float", 0, "mean", "mean"),
        ("double", 0, "add", "'add' of DOUBLE; f32 and integers only"),
    ],
)
def test_refusals(tmp_path: Path, kind: str, index: int, reduction: str, why: str) -> None:
    made = model(f"{kind}[6,2] x, {kind}[1,2] to", f"{kind}[6,2]", reduction)
    made.graph.initializer.append(numpy_helper.from_array(np.full((1, 1), index), "at"))
    with pytest.raises(GraphError, match=why):
        compile(made, output=tmp_path / "m.tcpkg")
