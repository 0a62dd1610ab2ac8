"""Small models from ONNX text, and two judges: onnxruntime for ONNX graphs, our runtime for physical ones."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx import numpy_helper, parser

from tiercast.frontend import load
from tiercast.ir.report import PassReport
from tiercast.ir.spec import check
from tiercast.lower.lowering import lower_graph
from tiercast.package.file import write_package
from tiercast.passes.assign_layout import assign_layout
from tiercast.pipeline import resolve
from tiercast.session import Session


def proto(text: str, opset: int = 23, **constants: np.ndarray) -> onnx.ModelProto:
    """A model from "(float[1,4] x) => (float[1,4] y) { y = Relu(x) }" and arrays for its constant names."""
    head = f'<ir_version: 9, opset_import: ["" : {opset}]>\n'
    model = parser.parse_model(f"{head} graph {text}")
    for name, array in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return model


def graph(text: str, opset: int = 23, **constants: np.ndarray) -> ir.Model:
    """The same, in hub form."""
    return load(proto(text, opset, **constants))


def physical(text: str, **constants: np.ndarray) -> ir.Model:
    """The same, laid out."""
    model = graph(text, **constants)
    assign_layout(model)
    check(model, "laid_out")
    return model


def op_types(model: ir.Model) -> list[str]:
    """The op types in order."""
    return [node.op_type for node in model.graph]


def feeds(model: onnx.ModelProto | ir.Model, seed: int = 0) -> dict[str, np.ndarray]:
    """Seeded arrays for the graph's inputs."""
    random = np.random.default_rng(seed)
    ports = model.graph.inputs if isinstance(model, ir.Model) else ir.from_proto(model).graph.inputs
    return {
        port.name or "": random.standard_normal([int(dim) for dim in port.shape or ()]).astype(np.float32)
        for port in ports
        if port.const_value is None
    }


def run_onnx(model: onnx.ModelProto | ir.Model, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What onnxruntime computes, optimisations off."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    data = (ir.to_proto(model) if isinstance(model, ir.Model) else model).SerializeToString()
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return [np.asarray(item) for item in session.run(None, dict(inputs))]


def run_physical(model: ir.Model, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What our runtime computes of a physical graph on the host."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_package(lower_graph(model, resolve("host")), Path(folder) / "m.tcpkg")
        return list(Session(path).run(dict(inputs)).values())


def keeps_result(
    model: ir.Model, run_pass: Callable[[ir.Model], PassReport], tolerance: float = 1e-5
) -> PassReport:
    """Runs an ONNX-level pass and asserts that outputs, names and shapes stay."""
    inputs = feeds(model)
    names = [value.name for value in model.graph.outputs]
    before = run_onnx(model, inputs)
    report = run_pass(model)
    check(model, "imported")
    assert [value.name for value in model.graph.outputs] == names
    for left, right in zip(before, run_onnx(model, inputs), strict=True):
        np.testing.assert_allclose(right, left, rtol=tolerance, atol=tolerance)
    return report


def keeps_physical_result(
    model: ir.Model, *passes: Callable[[ir.Model], PassReport], tolerance: float = 1e-5
) -> list[PassReport]:
    """Runs physical passes and asserts that outputs stay, in our own runtime."""
    inputs = feeds(model)
    before = run_physical(model, inputs)
    reports = []
    for run_pass in passes:
        reports.append(run_pass(model))
        check(model, "laid_out")
    for left, right in zip(before, run_physical(model, inputs), strict=True):
        np.testing.assert_allclose(right, left, rtol=tolerance, atol=tolerance)
    return reports
