"""Runs nodes of an ONNX-stage graph on arrays while compiling, by onnxruntime without optimisations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir

from tiercast.errors import ModelError
from tiercast.ir.report import label


def evaluate(nodes: Sequence[ir.Node], given: Mapping[ir.Value, np.ndarray], wanted: ir.Value) -> np.ndarray:
    """The array of `wanted`, which `nodes` (in order) compute of the values `given`.

    ModelError when onnxruntime can't compute it.
    """
    import onnxruntime

    names = {
        value: f"v{at}" for at, value in enumerate([*given, *(out for node in nodes for out in node.outputs)])
    }
    protos = []
    for node in nodes:
        proto = ir.to_proto(node)
        del proto.input[:], proto.output[:]
        proto.input.extend(names[value] if value is not None else "" for value in node.inputs)
        proto.output.extend(names[value] for value in node.outputs)
        protos.append(proto)
    graph = onnx.helper.make_graph(
        protos,
        "part",
        [],
        [onnx.helper.make_empty_tensor_value_info(names[wanted])],
        [
            onnx.numpy_helper.from_array(np.ascontiguousarray(data), names[value])
            for value, data in given.items()
        ],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 23)], ir_version=11)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return np.asarray(session.run(None, {})[0])
    except Exception as error:  # onnxruntime's errors share no base class
        raise ModelError(f"{label(nodes[-1])}: onnxruntime can't compute its table: {error}") from error
