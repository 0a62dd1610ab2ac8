"""Loops become recurrent layers where they compute the same, and only there."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper, parser

from tiercast.frontend.tf_recurrence import fuse_recurrences

STEPS, BATCH, WIDE, HIDDEN = 4, 2, 3, 5
GRU = """
  p = Gemm(xt, W, b)  q = Gemm(h, R, c)  px, rx, nx = Split<axis=1, num_outputs=3>(p)
  ph, rh, nh = Split<axis=1, num_outputs=3>(q)  za = Add(ph, px)  z = Sigmoid(za)  ra = Add(rx, rh)
  r = Sigmoid(ra)  m = Mul(r, nh)  na = Add(nx, m)  n = {activation}(na)  k = Sub(one, z)  old = Mul(z, h)
  new = Mul(k, n)  h2 = Add(old, new)
"""
RNN = "p = Gemm(xt, W, b)  q = MatMul(h, R)  a = Add(p, q)  h2 = {activation}(a)"


def loop(cell: str, gates: int, condition: str = "go2 = Less(i, last)") -> onnx.ModelProto:
    random = np.random.default_rng(0)
    made = parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 18]>
        g (float[{STEPS},{BATCH},{WIDE}] x, float[{BATCH},{HIDDEN}] h0)
          => (float[{STEPS},{BATCH},{HIDDEN}] y, float[{BATCH},{HIDDEN}] end) {{
          end, y = Loop (steps, go, h0) <body = body (int64 i, bool on, float[{BATCH},{HIDDEN}] h)
            => (bool go2, float[{BATCH},{HIDDEN}] h2, float[{BATCH},{HIDDEN}] seen) {{
              xt = Gather(x, i) {cell} {condition} seen = Identity(h2)
          }}>
        }}"""
    )
    columns = gates * HIDDEN
    arrays = {
        "W": random.standard_normal((WIDE, columns)),
        "R": random.standard_normal((HIDDEN, columns)) * 0.5,
        "b": random.standard_normal(columns),
        "c": random.standard_normal(columns),
        "one": np.array(1.0),
    }
    initializers = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()]
    initializers += [numpy_helper.from_array(np.array(STEPS), name) for name in ("steps", "last")]
    made.graph.initializer.extend([*initializers, numpy_helper.from_array(np.array(True), "go")])
    return made


def run(model: onnx.ModelProto) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    feeds = {
        port.name: random.standard_normal([dim.dim_value for dim in port.type.tensor_type.shape.dim])
        for port in model.graph.input
    }
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, {name: array.astype(np.float32) for name, array in feeds.items()}))


@pytest.mark.parametrize(("cell", "gates", "op_type"), [(GRU, 3, "GRU"), (RNN, 1, "RNN")])
def test_a_loop_that_is_a_layer_becomes_it(cell: str, gates: int, op_type: str) -> None:
    model = loop(cell.format(activation="Tanh"), gates)
    before = run(model)
    assert len(fuse_recurrences(model)) == 1
    found = {node.op_type for node in model.graph.node}
    assert op_type in found and "Loop" not in found
    for left, right in zip(before, run(model), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)


@pytest.mark.parametrize(
    ("cell", "gates", "condition"),
    [
        (GRU.format(activation="Relu"), 3, "go2 = Less(i, last)"),
        (RNN.format(activation="Softplus"), 1, "go2 = Less(i, last)"),
        # stops by what it computes: not on the inputs tried, but on others
        (RNN.format(activation="Tanh"), 1, "most = ReduceMax<keepdims=0>(h2)  go2 = LessOrEqual(most, one)"),
    ],
)
def test_a_loop_that_differs_stays(cell: str, gates: int, condition: str) -> None:
    model = loop(cell, gates, condition)
    assert fuse_recurrences(model) == []
    assert any(node.op_type == "Loop" for node in model.graph.node)
