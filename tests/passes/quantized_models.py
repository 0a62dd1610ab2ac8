"""Small quantized models in QDQ form, built operator by operator, and onnxruntime's and our own results."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from tiercast.package.file import write_package
from tiercast.pipeline import Compilation, compile_plan
from tiercast.session import Session


class Builder:
    """Appends operators; values are names. `kind`: np.int8 or np.uint8, of all activations; zero points are
    given for s8.
    """

    def __init__(self, kind: type[np.integer] = np.int8, seed: int = 0) -> None:
        self.kind = kind
        self.random = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._shapes: dict[str, tuple[tuple[int, ...], np.dtype]] = {}

    def const(self, data: object) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(data), name))
        return name

    def op(self, op_type: str, *inputs: str, **attributes: object) -> str:
        name = f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(op_type, list(inputs), [name], name, **attributes))
        return name

    def quantized_input(self, *dims: int, scale: float = 0.0203, zero: int = 3) -> str:
        """An input of integers, dequantized."""
        name = f"x{len(self._inputs)}"
        self._inputs.append(
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(self.kind)), dims)
        )
        self._shapes[name] = (dims, np.dtype(self.kind))
        return self.dequantize(name, scale, zero)

    def real_input(self, *dims: int) -> str:
        name = f"x{len(self._inputs)}"
        self._inputs.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, dims))
        self._shapes[name] = (dims, np.dtype(np.float32))
        return name

    def quantize(self, value: str, scale: float, zero: int) -> str:
        return self.op("QuantizeLinear", value, self.const(np.float32(scale)), self._zero(zero))

    def dequantize(self, value: str, scale: float, zero: int) -> str:
        return self.op("DequantizeLinear", value, self.const(np.float32(scale)), self._zero(zero))

    def requantize(self, value: str, scale: float, zero: int) -> str:
        return self.dequantize(self.quantize(value, scale, zero), scale, zero)

    def weight(self, *dims: int, axis: int = 0) -> tuple[str, np.ndarray]:
        """A dequantized s8 weight with a scale for each index of `axis`, and those scales."""
        data = self.random.integers(-127, 128, dims).astype(np.int8)
        scale = self.random.uniform(0.001, 0.01, dims[axis]).astype(np.float32)
        zero = np.zeros(dims[axis], np.int8)
        operands = [self.const(item) for item in (data, scale, zero)]
        return self.op("DequantizeLinear", *operands, axis=axis), scale

    def bias(self, scale: np.ndarray, x_scale: float = 0.0203) -> str:
        data = self.random.integers(-5000, 5000, len(scale)).astype(np.int32)
        steps = (scale * np.float32(x_scale)).astype(np.float32)
        return self.op("DequantizeLinear", self.const(data), self.const(steps), axis=0)

    def model(self, *outputs: str) -> onnx.ModelProto:
        ports = [helper.make_empty_tensor_value_info(name) for name in outputs]
        graph = helper.make_graph(self._nodes, "quantized", self._inputs, ports, self._constants)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        return onnx.shape_inference.infer_shapes(made)

    def feeds(self, seed: int = 1) -> dict[str, np.ndarray]:
        random = np.random.default_rng(seed)
        found = {}
        for name, (dims, kind) in self._shapes.items():
            if kind == np.float32:
                found[name] = random.standard_normal(dims).astype(np.float32)
            else:
                limits = np.iinfo(kind)
                found[name] = random.integers(limits.min, limits.max + 1, dims).astype(kind)
        return found

    def _zero(self, zero: int) -> str:
        return self.const(self.kind(zero if self.kind == np.int8 else zero + 128))


def judged(model: onnx.ModelProto, feeds: dict[str, np.ndarray], optimised: bool = False) -> list[np.ndarray]:
    """onnxruntime's results: QDQ in floats, or `optimised` to its integer kernels."""
    options = ort.SessionOptions()
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [np.asarray(item) for item in session.run(None, feeds)]


def ours(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> tuple[list[np.ndarray], Compilation]:
    """Our results on this machine, and the compilation."""
    done = compile_plan(model)
    with tempfile.TemporaryDirectory() as folder:
        package = write_package(done.plan, Path(folder) / "m.tcpkg")
        return list(Session(package).run(feeds).values()), done


def steps(done: Compilation) -> list[str]:
    """The kernels' ops of a plan without copies (of memory order) and flips of u8."""
    ops = [step.op.split("_s8")[0].split("_any")[0].split("_f32")[0] for step in done.plan.steps]
    return [op for op in ops if op != "copy"]


def refusals(done: Compilation) -> str:
    """What quantize_operators left in f32, and why."""
    return "; ".join(
        reason
        for report in done.reports
        if report.name == "quantize_operators"
        for _, reason in report.refused
    )
