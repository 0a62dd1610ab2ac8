"""Half precision: what overflows is kept in f32, and without that `verify` names the step that makes NaN."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from tiercast.calibration import measure_ranges, range_of, read_batches
from tiercast.errors import UsageError
from tiercast.lower.lowering import lower_graph
from tiercast.package.file import write_package
from tiercast.parity import verify
from tiercast.passes.choose_precision import LARGEST, choose_precision, half_constant, request_half
from tiercast.pipeline import Compilation, compile_plan
from tiercast.target import find_target

TARGET = "linux-arm64-v82"


def loud_model(gain: float = 4000.0) -> onnx.ModelProto:
    """Three convolutions: the second one's sums reach about 30 times `gain`, the third undoes that."""
    random = np.random.default_rng(1)
    scales = {"w1": 1.0, "w2": gain, "w3": 0.002 / gain}
    weights = {
        name: (random.standard_normal((8, 8, 3, 3)) * scale).astype(np.float32)
        for name, scale in scales.items()
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["loud"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["loud", "w3"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Tanh", ["c"], ["y"]),
    ]
    dims = (1, 8, 6, 7)
    graph = helper.make_graph(
        nodes,
        "loud",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, dims)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)


def on_this_machine(done: Compilation, path: Path) -> Path:
    """The half-precision graph with portable rows, as a package for the host."""
    plan = lower_graph(done.model, dataclasses.replace(find_target("host"), has=frozenset()))
    plan.facts = done.plan.facts
    return write_package(plan, path)


def without_ranges(model: onnx.ModelProto) -> Compilation:
    """Everything in f16, as if nothing were known of the values."""
    done = compile_plan(model, TARGET)
    request_half(done.model, {})
    choose_precision(done.model)
    done.plan.facts["precision"] = "f16"
    return done


@pytest.mark.native
def test_what_overflows_is_kept_in_f32_and_named(tmp_path: Path) -> None:
    model = loud_model()
    done = compile_plan(model, TARGET, precision="f16")
    refused = dict(next(report for report in done.reports if report.name == "choose_precision").refused)
    assert len(refused) == 2 and all("'loud' reaches" in reason for reason in refused.values())
    kinds = [step.op for step in done.plan.steps if step.op.startswith("conv2d")]
    assert kinds == ["conv2d_f16f16", "conv2d_f32f32", "conv2d_f32f32"]
    report = verify(model, on_this_machine(done, tmp_path / "kept.tcpkg"))
    assert report.ok and report.tolerance == 2e-2 and report.max_rel_error > 1e-6


@pytest.mark.native
def test_verify_names_the_step_that_makes_nan(tmp_path: Path) -> None:
    model = loud_model()
    report = verify(model, on_this_machine(without_ranges(model), tmp_path / "loud.tcpkg"))
    assert not report.ok and report.nonfinite == ("y",)
    assert report.first_wrong is not None and report.first_wrong.source == "loud"
    assert "the first with NaN or infinity that the model does not have" in str(report.first_wrong)


@pytest.mark.native
def test_a_quiet_model_is_f16_throughout(tmp_path: Path) -> None:
    model = loud_model(gain=1.0)
    done = compile_plan(model, TARGET, precision="f16")
    kinds = {step.op for step in done.plan.steps if step.op.startswith("conv2d")}
    assert kinds == {"conv2d_f16f16"}
    assert [port.dtype for port in (*done.plan.inputs, *done.plan.outputs)] == ["f32", "f32"]
    assert verify(model, on_this_machine(done, tmp_path / "quiet.tcpkg")).ok


def test_ranges_cover_all_batches(tmp_path: Path) -> None:
    model = ir.from_proto(onnx.shape_inference.infer_shapes(loud_model()))
    small, large = (np.full((1, 8, 6, 7), size, np.float32) for size in (1e-6, 50.0))
    np.savez(tmp_path / "a.npz", x=small)
    np.savez(tmp_path / "b.npz", x=large)
    found = measure_ranges(model, read_batches(tmp_path))
    assert found["x"].largest == 50.0 and found["x"].subnormal == 1.0
    assert found["loud"].overflows and not found["y"].overflows
    with pytest.raises(UsageError, match="are not the model's: x"):
        measure_ranges(model, [{"z": large}])
    with pytest.raises(UsageError, match="the model takes"):
        measure_ranges(model, [{"x": large[:, :4]}])


@pytest.mark.parametrize(
    ("data", "fits"),
    [([1.0, -2.0], True), ([LARGEST * 2], False), ([1e-7, 2e-7], False), ([1e-7, 1.0], True), ([0.0], True)],
)
def test_constants_that_f16_would_change_are_refused(data: list[float], fits: bool) -> None:
    assert (half_constant(np.array(data, np.float32)) is None) == fits


def test_a_range_knows_nan_and_nothing() -> None:
    assert range_of(np.array([np.nan, 1.0], np.float32)).overflows
    nothing = range_of(np.zeros(3, np.float32))
    assert not nothing.overflows and not nothing.vanishes


def test_targets_without_half_precision_say_what_to_take() -> None:
    with pytest.raises(UsageError, match=r"linux-arm64 has no f16 arithmetic .* take f16-weights"):
        compile_plan(loud_model(), "linux-arm64", precision="f16")
    with pytest.raises(UsageError, match=r"'f8' is unknown; known: f32, f16, f16-weights, int8-weights"):
        compile_plan(loud_model(), "linux-arm64", precision="f8")


@pytest.mark.native
def test_weights_in_f16_halve_the_package_and_compute_in_f32(tmp_path: Path) -> None:
    model = loud_model(gain=200_000.0)  # w2 leaves f16's range, w3 has few bits there
    plain, half = (compile_plan(model, "host", precision=name).plan for name in ("f32", "f16-weights"))
    kept = sorted(text for name, text in half.facts.items() if name.startswith("kept f32"))
    assert [text.split('"')[1] for text in kept] == ["c/Conv2d", "loud/Conv2d"]
    assert "of its size" in kept[0] and "f16 ends at 65504" in kept[1]
    assert [step.op for step in half.steps] == [step.op for step in plain.steps]
    assert [step.op for step in half.prepare][-1] == "cast_anyany"
    assert verify(model, write_package(half, tmp_path / "half.tcpkg")).ok
