"""Decisions between algorithms: measured before predicted, asked for before both, and kept."""

from __future__ import annotations

import dataclasses

import onnx_ir as ir

from tests.passes.graphs import physical
from tiercast.ir.report import PassReport
from tiercast.lower.calls import GraphLowering
from tiercast.lower.storage import place_values
from tiercast.ops.registry import shape_key
from tiercast.pipeline import DecidingStage
from tiercast.records import Records
from tiercast.target import find_target
from tiercast.tuning import DECIDED, MERIT, Decisions

HOST = find_target("host")
PREDICTED = {"direct": 20.0, "winograd": 10.0}


def test_the_least_prediction_wins() -> None:
    decisions = Decisions(HOST)
    assert decisions.decide("conv", PREDICTED) == "winograd"
    assert decisions.facts() == {f"{DECIDED}conv": "winograd, us predicted (direct 20, winograd 10)"}


def test_a_measurement_goes_before_predictions() -> None:
    decisions = Decisions(HOST, Records("a CPU", {"conv": {"direct": 5.0, "winograd": 6.0, "gone": 1.0}}))
    assert decisions.decide("conv", PREDICTED) == "direct"
    assert decisions.made["conv"].reason == "us measured on a CPU"
    assert decisions.decide("other conv", PREDICTED) == "winograd"


def test_a_record_without_one_of_the_candidates_decides_nothing() -> None:
    decisions = Decisions(HOST, Records("a CPU", {"conv": {"direct": 5.0}}))
    assert decisions.decide("conv", PREDICTED) == "winograd"
    assert decisions.made["conv"].reason == "us predicted"


def test_times_that_hardly_differ_leave_what_is_predicted() -> None:
    records = Records("a CPU", {"conv": {"direct": 4.9, "winograd": 5.0}})
    assert Decisions(HOST, records).decide("conv", PREDICTED) == "winograd"
    assert Decisions(HOST, records).decide("conv", {"direct": 1.0, "winograd": 2.0}) == "direct"


def test_the_fitted_model_goes_before_the_callers_predictions() -> None:
    records = Records("a CPU", model={"direct": (1.0, 0, 0, 0), "winograd": (3.0, 0, 0, 0)})
    decisions = Decisions(HOST, records)
    assert decisions.decide("conv", PREDICTED) == "direct"
    assert decisions.made["conv"].reason == "us predicted from records of a CPU"
    assert decisions.decide("conv", {**PREDICTED, "new": 1.0}) == "new"
    close = Records("a CPU", model={"direct": (1.0, 0, 0, 0), "winograd": (1.5, 0, 0, 0)})
    assert Decisions(HOST, close).decide("conv", PREDICTED) == "winograd"


def test_rows_stand_in_order_of_merit_until_measured() -> None:
    rows = ["fast", "plain"]
    assert Decisions(HOST).pick_row("conv", rows) == "fast"
    decisions = Decisions(
        HOST, Records("a CPU", {"conv": {"fast": 5.0, "plain": 4.0}, "half": {"plain": 1.0}})
    )
    assert decisions.pick_row("conv", rows) == "plain"
    assert decisions.pick_row("half", rows) == "fast"
    assert decisions.made["half"].reason == MERIT
    assert list(decisions.facts()) == [f"{DECIDED}conv"]
    assert Decisions(HOST, wanted={"conv": "plain"}).pick_row("conv", rows) == "plain"


def test_what_is_asked_for_goes_before_all() -> None:
    records = Records("a CPU", {"conv": {"direct": 5.0, "winograd": 4.0}})
    decisions = Decisions(HOST, records, {"conv": "direct", "pool": "unknown"})
    assert decisions.decide("conv", PREDICTED) == "direct"
    assert decisions.decide("pool", PREDICTED) == "winograd"


def test_the_op_of_the_preferred_row_is_decided_for() -> None:
    storage = place_values(physical("(float[1,3,4,4] x) => (float[1,3,4,4] y) { y = Relu(x) }").graph)
    low = GraphLowering(Decisions(HOST), storage, prefer="matmul_f32f32_portable")
    assert low.decide("key", {"matmul_f32f32": 9.0, "conv2d_f32f32": 1.0}) == "matmul_f32f32"
    assert low.decide("key", {"softmax_f32f32": 9.0, "conv2d_f32f32": 1.0}) == "conv2d_f32f32"


def test_keys_tell_shapes_and_attributes() -> None:
    body = "(float[1,3,8,8] x, float[5,3,3,3] w) => (float[1,5,8,8] y) { y = Conv<pads=[1,1,1,1]>(x, w) }"
    weight = ir.tensor([[[[0.5] * 3] * 3] * 3] * 5, dtype=ir.DataType.FLOAT).numpy()
    model = physical(body.replace(", float[5,3,3,3] w", ""), w=weight)
    (conv,) = [node for node in model.graph if node.op_type == "Conv2d"]
    assert shape_key(conv) == "Conv2d(1x8x8x3, 5x3x3x3, -) -> 1x8x8x5 pads=1,1,1,1"


def test_a_deciding_pass_gets_target_and_decisions() -> None:
    def fuse_all(model: ir.Model, decisions: Decisions) -> PassReport:
        report = PassReport("fuse_all")
        if "neon" in decisions.target.has and decisions.decide("k", {"fused": 1.0, "apart": 2.0}) == "fused":
            report.apply(model.graph[0], "fused")
        return report

    model = physical("(float[1,3,4,4] x) => (float[1,3,4,4] y) { y = Relu(x) }")
    stage = DecidingStage(fuse_all, "laid_out")
    arm = dataclasses.replace(HOST, has=frozenset({"neon"}))
    assert stage.name == "fuse_all"
    assert stage.apply(model, Decisions(arm)).changed
    assert not stage.apply(model, Decisions(HOST)).changed
