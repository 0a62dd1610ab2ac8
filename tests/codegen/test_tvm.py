"""Kernels that TVM writes: they compute what ONNX says or are refused, and need nothing of TVM to run."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

import tiercast
from tiercast.codegen.emit import Operand, make_kernel
from tiercast.codegen.tvm import VERSIONS, Emission, Worker, check_versions
from tiercast.emission import can_emit
from tiercast.errors import GraphError, ToolchainError, UnsupportedError, UsageError
from tiercast.pipeline import compile_plan

needs_tvm = pytest.mark.skipif(importlib.util.find_spec("tvm") is None, reason="needs tiercast[tvm]")


def model_of(
    nodes: list[onnx.NodeProto], dims: tuple[int, ...], kind: int = TensorProto.FLOAT, **weights: np.ndarray
) -> onnx.ModelProto:
    """Nodes from "x" to "y"."""
    graph = helper.make_graph(
        nodes,
        "case",
        [helper.make_tensor_value_info("x", kind, dims)],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)


def lp_pool(**attributes: object) -> onnx.ModelProto:
    """LpPool, which no op of ours takes, and a ReLU."""
    nodes = [
        helper.make_node(
            "LpPool", ["x"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2], **attributes
        ),
        helper.make_node("Relu", ["p"], ["y"]),
    ]
    return model_of(nodes, (1, 3, 7, 7))


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker() as made:
        yield made


@needs_tvm
@pytest.mark.native
def test_an_operator_without_an_op_gets_a_kernel(tmp_path: Path) -> None:
    package = tiercast.compile(lp_pool(), output=tmp_path / "m.tcpkg", tvm="missing")
    kernels = [step["kernel"] for step in tiercast.Session(package).steps]
    assert kernels[0].startswith("tvm_lppool_") and kernels[1].startswith("pointwise_")
    assert tiercast.verify(lp_pool(), package).ok


@needs_tvm
@pytest.mark.native
def test_a_kernel_that_is_wrong_is_refused() -> None:
    # TVM 0.27 pads the last windows of ceil_mode wrongly, and says nothing.
    with pytest.raises(
        GraphError, match=r'node "pool" \(LpPool\): .*is wrong in output 0, relative error .*refused'
    ):
        compile_plan(lp_pool(ceil_mode=1), tvm="missing")


def test_without_tvm_the_operator_is_named() -> None:
    with pytest.raises(UnsupportedError, match=r'LpPool: "pool"(.|\n)*--tvm'):
        compile_plan(lp_pool(), "linux-arm64")


@needs_tvm
@pytest.mark.native
def test_preferred_regions_are_one_kernel_and_right(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["a"]),
        helper.make_node("Mul", ["x", "a"], ["b"]),
        helper.make_node("Add", ["b", "w"], ["c"]),
        helper.make_node("Softmax", ["c"], ["d"], axis=1),
        helper.make_node("MaxPool", ["d"], ["y"], kernel_shape=[2, 2], strides=[2, 2]),
    ]
    model = model_of(nodes, (1, 8, 16, 16), w=random.standard_normal((8, 16, 16)).astype(np.float32))
    package = tiercast.compile(model, output=tmp_path / "m.tcpkg", tvm="prefer")
    (step,) = tiercast.Session(package).steps
    assert step["kernel"].startswith("tvm_sigmoid_mul_add_softmax_maxpool_")
    assert tiercast.verify(model, package).ok
    assert (tmp_path / "m.kernels" / "kernels.json").is_file()


@needs_tvm
@pytest.mark.native
def test_where_the_proof_fails_our_kernel_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiercast.emission.difference", lambda _got, _want: "relative error 1")
    model = model_of([helper.make_node("Softmax", ["x"], ["y"], axis=1)], (1, 5))
    done = compile_plan(model, tvm="prefer")
    assert [step.op for step in done.plan.steps] == ["softmax_f32f32"] and done.extras is None
    ((_, reason),) = next(report for report in done.reports if report.name == "take_regions").refused
    assert "is wrong in output 0, relative error 1; refused" in reason


@needs_tvm
@pytest.mark.native
@pytest.mark.slow
@pytest.mark.qemu("linux-arm64")
def test_a_kernel_runs_on_arm(tmp_path: Path) -> None:
    package = tiercast.compile(lp_pool(), "linux-arm64", tmp_path / "m.tcpkg", tvm="missing")
    assert tiercast.verify(lp_pool(), package, cpu="cortex-a53").ok


@needs_tvm
def test_integers_and_constants(worker: Worker) -> None:
    mask = np.array([1, 2, 4], np.int32)
    emission = worker.emit(
        model_of(
            [helper.make_node("BitwiseAnd", ["x", "w"], ["y"])], (2, 3), TensorProto.INT32, w=mask
        ).SerializeToString()
    )
    assert emission.calls[0][1] == (("in", 0), ("const", 0), ("out", 0))
    assert bytes.fromhex(emission.constants[0][1]) == mask.tobytes()


@needs_tvm
def test_what_tvm_can_not_do_is_an_error_and_the_next_model_is_served(worker: Worker) -> None:
    with pytest.raises(GraphError, match="TVM can't emit it: "):
        worker.emit(b"no model")
    nonzero = model_of([helper.make_node("NonZero", ["x"], ["y"])], (2, 3)).SerializeToString()
    with pytest.raises(GraphError, match="TVM can't emit it: "):
        worker.emit(nonzero)
    relu = model_of([helper.make_node("Relu", ["x"], ["y"])], (2, 3)).SerializeToString()
    assert len(worker.emit(relu).calls) == 1


@needs_tvm
def test_a_crash_of_tvm_ends_its_process_only(worker: Worker) -> None:
    relu = model_of([helper.make_node("Relu", ["x"], ["y"])], (2, 3)).SerializeToString()
    worker._process.kill()
    with pytest.raises(GraphError, match=r"TVM crashed on it \(exit code -9\)"):
        worker.emit(relu)
    assert len(worker.emit(relu).calls) == 1


@pytest.mark.parametrize("installed", [None, "0.1.15.post2"])
def test_a_wrong_installation_names_the_extra(monkeypatch: pytest.MonkeyPatch, installed: str | None) -> None:
    def version(name: str) -> str:
        if name == "apache-tvm":
            return VERSIONS[name]
        if installed is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(ToolchainError, match=r"pip install tiercast\[tvm\].*apache-tvm-ffi==0\.1\.14\.post1"):
        check_versions()


def test_unknown_modes_are_refused() -> None:
    with pytest.raises(UsageError, match="tvm='always' is unknown; there are missing, prefer"):
        compile_plan(lp_pool(), "linux-arm64", tvm="always")


def test_can_emit_says_why_not() -> None:
    def node(op_type: str, kind: ir.DataType = ir.DataType.FLOAT) -> ir.Node:
        values = [
            ir.Value(name=name, shape=ir.Shape([2, 3]), type=ir.TensorType(kind)) for name in ("x", "y")
        ]
        return ir.Node("", op_type, values[:1], outputs=values[1:])

    assert can_emit(node("LpPool")) is None
    assert can_emit(node("NonMaxSuppression")) == "TVM is not used for NonMaxSuppression"
    assert "f16" in str(can_emit(node("LpPool", ir.DataType.FLOAT16)))


SOURCE = """
TVM_DLL int32_t first(float* x, float* y) {
  float* a = ((float*)TVMBackendAllocWorkspace(1, 0, (uint64_t)100ULL, 2, 32));
  float* b = ((float*)TVMBackendAllocWorkspace(1, 0, (uint64_t)64ULL, 2, 32));
  return 0;
}
TVM_DLL int32_t second(float* x, float* y) {
  return 0;
}
"""


def test_workspaces_and_intermediates_lie_apart_in_scratch() -> None:
    emission = Emission(
        SOURCE,
        (("first", (("in", 0), ("sto", 0))), ("second", (("sto", 0), ("out", 0)))),
        (40,),
        (),
    )
    made = make_kernel("tvm_test", "", emission, [Operand("f32", (10,))], [Operand("f32", (10,))])
    body, row = made.files["tvm_test_body.h"].decode(), made.files["tvm_test_f32f32_portable.cc"].decode()
    assert "(tc_work + 0)" in body and "(tc_work + 128)" in body  # each at a multiple of 64 bytes
    assert made.scratch_bytes == 64 + 128 + 64
    assert "first(scratch + 64, (float*)(call->inputs[0].data), (float*)((scratch + 0)));" in row
    assert "TC_RULE(call->scratch_bytes >= 256" in made.files["tvm_test_check.cc"].decode()


def test_half_precision_is_refused() -> None:
    emission = Emission(SOURCE, (), (), ())
    with pytest.raises(GraphError, match="no f16"):
        make_kernel("tvm_test", "", emission, [Operand("f16", (10,))], [Operand("f32", (10,))])
