"""One ONNX node as a model: what onnxruntime computes for it, and what we do here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper, parser

from tiercast import compile
from tiercast.session import Session

TOLERANCE = 2e-5  # of the largest value
FEATURES: tuple[list[str] | None, ...] = (None, [], ["avx2"])


def model_of(
    node: onnx.NodeProto, inputs: Mapping[str, np.ndarray], constants: Mapping[str, np.ndarray]
) -> onnx.ModelProto:
    """A model of `node` alone; its output shapes are what onnxruntime says they are."""
    names = [name for name in node.output if name]
    graph = helper.make_graph(
        [node],
        "node",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape)
            for name, array in inputs.items()
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    for port, array in zip(model.graph.output, wanted(model, inputs).values(), strict=True):
        port.CopyFrom(helper.make_tensor_value_info(port.name, TensorProto.FLOAT, array.shape))
    return model


def parsed(text: str, opset: int = 23) -> onnx.ModelProto:
    """A model from "(float[1,4] x) => (float[1,4] y) { y = Relu(x) }"."""
    return parser.parse_model(f'<ir_version: 9, opset_import: ["" : {opset}]>\n graph {text}')


def wanted(model: onnx.ModelProto, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What onnxruntime computes."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def assert_same(
    folder: Path,
    node: onnx.NodeProto,
    inputs: Mapping[str, np.ndarray],
    constants: Mapping[str, np.ndarray],
) -> None:
    """Our outputs are onnxruntime's, with every set of CPU features that this machine can be held to."""
    model = model_of(node, inputs, constants)
    package = compile(model, output=folder / "node.tcpkg")
    for features in FEATURES:
        found = Session(package, features=features).run(inputs)
        for name, array in wanted(model, inputs).items():
            assert found[name].shape == array.shape
            scale = max(float(np.abs(array).max()), 1e-6)
            np.testing.assert_allclose(found[name] / scale, array / scale, rtol=0, atol=TOLERANCE)


def random(*dims: int, scale: float = 1.0) -> np.ndarray:
    """Seeded normal numbers."""
    return (np.random.default_rng(len(dims) + sum(dims)).standard_normal(dims) * scale).astype(np.float32)
