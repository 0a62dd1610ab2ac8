"""Winograd convolutions: the matrices, each algorithm against a float64 convolution, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from tiercast.kernel import Case
from tiercast.lower.case import case_model
from tiercast.lower.lowering import lower_graph
from tiercast.lower.plan import Plan
from tiercast.ops import winograd
from tiercast.ops.convolution import channel_vector, weight_of
from tiercast.ops.registry import attr, shape_key
from tiercast.ops.winograd import TILES, Tile, matrices
from tiercast.package.file import write_package
from tiercast.session import Session
from tiercast.target import find_target
from tiercast.tuning import Decisions

FOUR = Tile(4, 3)


def case(r: int = 3) -> Case:
    """A convolution by r x r taps."""
    attributes = {"pads": [1, 2, 0, 1], "dilations": [1, 2]}
    return Case("Conv2d", ("2x13x22x24", f"const 40x24x{r}x{r}", "const 40"), attributes)


def lowered(model: ir.Model, op: str) -> Plan:
    """A one-node model computed by kernel op `op`."""
    (node,) = model.graph
    target = find_target("host")
    decisions = Decisions(target, wanted={shape_key(node): op})
    return lower_graph(model, target, decisions=decisions)


def convolved(model: ir.Model, x: np.ndarray) -> np.ndarray:
    """The node's convolution of x [N,H,W,C] in float64."""
    (node,) = model.graph
    weight, bias = weight_of(node).astype(np.float64), channel_vector(node, 2, 40, default=0.0)
    top, left, bottom, right = attr(node, "pads")
    padded = np.pad(x.astype(np.float64), ((0, 0), (top, bottom), (left, right), (0, 0)))
    (dy, dx), (rows, columns) = attr(node, "dilations"), padded.shape[1:3]
    r = weight.shape[2]
    height, width = rows - (r - 1) * dy, columns - (r - 1) * dx
    taps = [
        padded[:, i * dy : i * dy + height, j * dx : j * dx + width] @ weight[:, :, i, j].T
        for i in range(r)
        for j in range(r)
    ]
    return np.asarray(sum(taps) + bias)


@pytest.mark.parametrize("tile", TILES, ids=lambda tile: tile.op)
def test_the_matrices_convolve(tile: Tile) -> None:
    random = np.random.default_rng(tile.m)
    d, g = random.standard_normal(tile.reach), random.standard_normal(tile.r)
    b, filters, a = matrices(tile)
    found = a @ ((filters @ g) * (b @ d))
    np.testing.assert_allclose(found, np.correlate(d, g, "valid"), rtol=1e-9, atol=1e-12)


@pytest.mark.native
@pytest.mark.parametrize("tile", TILES, ids=lambda tile: tile.op)
def test_each_algorithm_convolves_as_exactly_as_it_says(tile: Tile, tmp_path: Path) -> None:
    model, inputs = case_model(case(tile.r))
    plan = lowered(model, tile.op)
    assert [step.op for step in plan.steps] == [tile.op]
    (found,) = Session(write_package(plan, tmp_path / "x.tcpkg")).run(inputs).values()
    wanted = convolved(model, inputs["i0"])
    # Twice: the budget is held against a sample of inputs that are not these.
    assert np.abs(found - wanted).max() < 2 * winograd.ERROR_BUDGET * np.abs(wanted).max()


def test_the_package_keeps_the_plain_weight() -> None:
    plan = lowered(case_model(case())[0], FOUR.op)
    (step,) = plan.prepare
    (plain, made) = (plan.tensors[index] for index in (*step.inputs, *step.outputs))
    assert plain.place == "weights" and plain.dims == (3, 3, 24, 40)
    assert made.place == "prepared" and made.dims == (36 * 24 * 40,)
    assert plan.prepared_bytes == made.dims[0] * 4 and len(plan.weights) < 2 * 9 * 24 * 40 * 4


def test_what_is_not_exact_enough_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "ERROR_BUDGET", 1e-9)
    (step,) = lowered(case_model(case())[0], FOUR.op).steps
    assert step.op == "conv2d_f32f32"
    for tile in (tile for tile in TILES if tile.r == 3):
        (line,) = (line for line in step.refused if line.startswith(f"{tile.op}: error"))
        assert "above 1e-09" in line


@pytest.mark.parametrize(
    ("weight", "attributes"),
    [
        ("40x24x3x3", {"strides": [2, 1]}),
        ("40x12x3x3", {"group": 2}),
        ("40x24x3x1", {}),
        ("40x24x4x4", {}),
        ("40x24x3x3", {"pads": [0, 3, 0, 0]}),
    ],
)
def test_other_convolutions_are_direct(weight: str, attributes: dict[str, object]) -> None:
    model, _ = case_model(Case("Conv2d", ("1x32x32x24", f"const {weight}", "const 40"), attributes))
    plan = lower_graph(model, find_target("host"))
    assert [step.op for step in plan.steps] == ["conv2d_f32f32"] and not plan.prepare


@pytest.mark.parametrize(("r", "op"), [(5, "winograd4x5_conv2d_f32f32"), (7, "winograd2x7_conv2d_f32f32")])
def test_larger_filters_have_algorithms_of_their_own(r: int, op: str) -> None:
    inputs = ("1x64x64x16", f"const 16x16x{r}x{r}", "-")
    model, _ = case_model(Case("Conv2d", inputs, {"pads": [r // 2] * 4}))
    for features in ({"avx2", "avx512"}, {"avx2"}, {"neon"}):
        target = dataclasses.replace(find_target("host"), has=frozenset(features))
        (step,) = lower_graph(model, target).steps
        assert step.op == op


@pytest.mark.parametrize(("channels", "outputs", "direct"), [(16, 1, True), (64, 1, True), (12, 8, False)])
def test_one_output_channel_is_summed_directly_and_thin_layers_are_not(
    channels: int, outputs: int, direct: bool
) -> None:
    weight = f"const {outputs}x{channels}x3x3"
    model, _ = case_model(Case("Conv2d", (f"1x64x64x{channels}", weight, "-"), {"pads": [1, 1, 1, 1]}))
    target = dataclasses.replace(find_target("host"), has=frozenset({"avx2", "avx512"}))
    (step,) = lower_graph(model, target).steps
    assert (step.op == "conv2d_f32f32") is direct
