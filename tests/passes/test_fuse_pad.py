"""Pads become attributes of the nodes that read the padded image."""

import numpy as np
import pytest
from graphs import keeps_physical_result, op_types, physical

from tiercast.ops.registry import attr
from tiercast.passes.fuse_pad import fuse_pad
from tiercast.passes.remove_copies import remove_copies

random = np.random.default_rng(0)
CONSTANTS = {
    "w": random.standard_normal((8, 8, 3, 3)).astype(np.float32),
    "dw": random.standard_normal((8, 1, 3, 3)).astype(np.float32),
    "p": np.array([0, 0, 1, 2, 0, 0, 2, 1]),
    "channels": np.array([0, 1, 0, 0, 0, 1, 0, 0]),
    "cut": np.array([0, 0, -1, 0, 0, 0, 0, 0]),
    "one": np.array(1.0, np.float32),
}


def model_of(body: str, outputs: str = "float[a,b,c,d] y"):
    return physical(f"(float[1,8,9,9] x) => ({outputs}) {{ {body} }}", **CONSTANTS)


@pytest.mark.native
@pytest.mark.parametrize(
    ("body", "mode"),
    [
        ("q = Pad(x, p)\n y = Conv(q, w)", "zero"),
        ("q = Pad(x, p)\n y = Conv<pads=[1,1,1,1], strides=[2,2]>(q, w)", "zero"),
        ('q = Pad<mode="reflect">(x, p)\n y = Conv(q, w)', "reflect"),
        ('q = Pad<mode="edge">(x, p)\n y = Conv<group=8>(q, dw)', "replicate"),
        (
            'q = Pad<mode="reflect">(x, p)\n a = Conv(q, w)\n b = Conv<group=8>(q, dw)\n y = Add(a, b)',
            "reflect",
        ),
    ],
)
def test_convolutions_take_pads(body: str, mode: str) -> None:
    model = model_of(body)
    keeps_physical_result(model, remove_copies, fuse_pad)
    assert "Pad" not in op_types(model)
    convs = [node for node in model.graph if node.op_type in ("Conv2d", "DepthwiseConv2d")]
    assert {attr(node, "pad_mode") for node in convs} == {mode}


@pytest.mark.native
def test_average_pooling_that_counts_zeros_takes_them() -> None:
    model = model_of("q = Pad(x, p)\n y = AveragePool<kernel_shape=[3,3]>(q)")
    keeps_physical_result(model, remove_copies, fuse_pad)
    assert "Pad" not in op_types(model)


@pytest.mark.native
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('q = Pad<mode="reflect">(x, p)\n y = Conv<pads=[1,1,1,1]>(q, w)', "pads of its own"),
        ("q = Pad(x, p, one)\n y = Conv(q, w)", "mode constant with value 1.0"),
        ("q = Pad(x, p)\n y = MaxPool<kernel_shape=[3,3]>(q)", "would not count"),
        (
            "q = Pad(x, p)\n a = Conv(q, w)\n b = MaxPool<kernel_shape=[3,3]>(q)\n y = Add(a, b)",
            "would not count",
        ),
        ("q = Pad(x, channels)\n y = AveragePool<kernel_shape=[3,3]>(q)", "other axes"),
    ],
)
def test_refusals(body: str, reason: str) -> None:
    model = model_of(body)
    _, report = keeps_physical_result(model, remove_copies, fuse_pad)
    assert "Pad" in op_types(model)
    assert reason in report.refused[0][1]
