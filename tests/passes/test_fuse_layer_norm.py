"""Layer norm written in arithmetic is found; what only looks like it is not."""

import numpy as np
from graphs import graph, keeps_result, op_types

from tiercast.passes.fuse_layer_norm import fuse_layer_norm

BODY = """
  m = ReduceMean(x, axes)
  c = Sub(x, m)
  s = {square}
  v = ReduceMean(s, {second})
  e = Add(v, eps)
  r = Sqrt(e)
  d = Div(c, r)
  g = Mul(d, gamma)
  y = Add(g, beta)
"""
random = np.random.default_rng(0)
CONSTANTS = {
    "axes": np.array([-1]),
    "other": np.array([1]),
    "eps": np.array(1e-5, np.float32),
    "two": np.array(2.0, np.float32),
    "gamma": random.standard_normal(8).astype(np.float32),
    "beta": random.standard_normal(8).astype(np.float32),
}


def model_of(square: str, second: str = "axes"):
    return graph(
        f"(float[2,8,8] x) => (float[2,8,8] y) {{ {BODY.format(square=square, second=second)} }}", **CONSTANTS
    )


def test_both_ways_to_write_a_square() -> None:
    for square in ("Mul(c, c)", "Pow(c, two)"):
        model = model_of(square)
        keeps_result(model, fuse_layer_norm)
        assert op_types(model) == ["LayerNormalization"]


def test_a_cube_or_other_axes_are_no_layer_norm() -> None:
    for square, second in (("Mul(c, x)", "axes"), ("Mul(c, c)", "other")):
        model = model_of(square, second)
        keeps_result(model, fuse_layer_norm)
        assert "LayerNormalization" not in op_types(model)
