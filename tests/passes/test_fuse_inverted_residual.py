"""Depthwise convolutions and the 1x1 convolutions around them become one op where that is faster."""

from collections.abc import Iterable, Mapping
from functools import partial

import numpy as np
import pytest
from graphs import keeps_physical_result, op_types, physical

from tiercast.ops.registry import attr
from tiercast.passes.fuse_activation import fuse_activation
from tiercast.passes.fuse_inverted_residual import fuse_inverted_residual
from tiercast.passes.fuse_residual import fuse_residual
from tiercast.target import find_target
from tiercast.tuning import Decisions

random = np.random.default_rng(0)
HOST = find_target("host")
W = {
    "e": random.standard_normal((24, 8, 1, 1)).astype(np.float32),
    "d": random.standard_normal((24, 1, 3, 3)).astype(np.float32),
    "p": random.standard_normal((8, 24, 1, 1)).astype(np.float32),
}
EXPAND, FILTER = "a = Conv(x, e)\n b = Relu(a)", "c = Conv<group=24, pads=[1,1,1,1]>(b, d)\n f = Relu(c)"
PROJECT = "g = Conv(f, p)\n y = Add(g, x)"


class Asked(Decisions):
    """One candidate whatever the key and the times."""

    def __init__(self, name: str) -> None:
        super().__init__(HOST)
        self.name = name

    def decide(self, key: str, candidates: Mapping[str, float], computes: Iterable[str | None] = ()) -> str:
        assert self.name in candidates
        return self.name


def fuse(decisions: Decisions):
    made = partial(fuse_inverted_residual, decisions=decisions)
    made.__name__ = "fuse_inverted_residual"
    return made


def model_of(body: str, size: int = 9, outputs: str = "float[1,8,9,9] y"):
    return physical(f"(float[1,8,{size},{size}] x) => ({outputs}) {{ {body} }}", **W)


@pytest.mark.native
@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("whole", []),
        ("expand_filter", ["Conv2d"]),
        ("filter_project", ["Conv2d"]),
        ("apart", ["Conv2d", "DepthwiseConv2d", "Conv2d"]),
    ],
)
def test_every_way_computes_the_same(name: str, left: list[str]) -> None:
    model = model_of(f"{EXPAND}\n {FILTER}\n {PROJECT}")
    keeps_physical_result(model, fuse_activation, fuse_residual, fuse(Asked(name)))
    assert [op for op in op_types(model) if "Conv2d" in op] == left
    assert ("InvertedResidual" in op_types(model)) == (name != "apart")


def test_activations_and_residual_keep_their_places() -> None:
    model = model_of(f"{EXPAND}\n {FILTER}\n {PROJECT}")
    for run in (fuse_activation, fuse_residual, fuse(Asked("whole"))):
        run(model)
    (node,) = (node for node in model.graph if node.op_type == "InvertedResidual")
    kept = [
        attr(node, name) for name in ("expand_activation", "filter_activation", "activation", "residual_mode")
    ]
    assert kept == ["relu", "relu", "none", "add"]


def test_values_that_others_read_stay() -> None:
    model = model_of(
        f"{EXPAND}\n {FILTER}\n g = Conv(f, p)\n y = Relu(g)\n z = Exp(b)\n q = Exp(f)",
        outputs="float[1,8,9,9] y, float[1,24,9,9] z, float[1,24,9,9] q",
    )
    fuse_activation(model)
    report = fuse(Asked("whole"))(model)
    assert [reason for _, reason in report.refused] == ["no 1x1 convolution is next to it"]


@pytest.mark.parametrize(("size", "hidden", "fused"), [(7, 960, False), (128, 48, True)])
def test_predictions_fuse_large_images_but_not_large_weights(size: int, hidden: int, fused: bool) -> None:
    weights = {"e": (hidden, 160, 1, 1), "d": (hidden, 1, 3, 3), "p": (160, hidden, 1, 1)}
    model = physical(
        f"(float[1,160,{size},{size}] x) => (float[1,160,{size},{size}] y)"
        f"{{ b = Conv(x, e)\n f = Conv<group={hidden}, pads=[1,1,1,1]>(b, d)\n y = Conv(f, p) }}",
        **{name: np.ones(dims, np.float32) for name, dims in weights.items()},
    )
    fuse(Decisions(HOST))(model)
    assert ("InvertedResidual" in op_types(model)) == fused


def test_what_has_no_tiles_is_refused() -> None:
    model = model_of(f"{EXPAND}\n c = Conv<group=24, dilations=[2,2], pads=[2,2,2,2]>(b, d)\n y = Conv(c, p)")
    fuse_activation(model)
    report = fuse(Asked("whole"))(model)
    assert "dilated" in report.refused[0][1]
