"""ONNX files (with external data), onnx.ModelProto and onnx_ir.Model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from tiercast.errors import ModelError
from tiercast.frontend.hub import to_hub
from tiercast.frontend.opset import shorten_default_domain

REFERENCE = "onnxruntime, optimisations off"
TAKES = "an .onnx file, an onnx.ModelProto or an onnx_ir.Model (opset 11 or newer)"


def accepts(source: object) -> bool:
    """Whether this format reads `source`."""
    if isinstance(source, (str, Path)):
        return Path(source).suffix == ".onnx"
    return isinstance(source, (onnx.ModelProto, ir.Model))


def read(source: Any, inputs: Mapping[str, Sequence[int]] | None) -> ir.Model:
    """The model in hub form. ModelError when the bytes are no valid ONNX model."""
    if isinstance(source, (str, Path)):
        path = Path(source)
        return to_hub(_load(path), inputs, f"onnx:{path.name}")
    if isinstance(source, ir.Model):
        return to_hub(ir.to_proto(source), inputs, f"onnx:{source.graph.name or 'model'}")
    copy = onnx.ModelProto()
    copy.CopyFrom(source)
    _validate(copy, f"onnx:{source.graph.name or 'model'}")
    return to_hub(copy, inputs, f"onnx:{source.graph.name or 'model'}")


def reference(source: Any) -> Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]:
    """The model as it came, run by onnxruntime on the CPU; ModelError when onnxruntime refuses it."""
    import onnxruntime

    if isinstance(source, ir.Model):
        source = ir.to_proto(source)
    given = str(source) if isinstance(source, (str, Path)) else source.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class
        raise ModelError(f"onnx: onnxruntime can't be the reference: {error}") from error

    def run(inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        return [np.asarray(array) for array in session.run(None, dict(inputs))]

    return run


def _load(path: Path) -> onnx.ModelProto:
    origin = f"onnx:{path.name}"
    if not path.is_file():
        raise ModelError(f"{origin}: there is no file {path}")
    try:
        proto = onnx.load(path)
    except DecodeError as error:
        raise ModelError(
            f"{origin}: not an ONNX model, or cut short ({path.stat().st_size} bytes): {error}"
        ) from error
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelError(f"{origin}: its external data can't be read: {error}") from error
    _validate(proto, origin)
    return proto


def _validate(proto: onnx.ModelProto, origin: str) -> None:
    if not proto.graph.node and not proto.graph.output:
        raise ModelError(f"{origin}: it holds no graph; is it an ONNX model?")
    if not _is_text(proto.graph):
        raise ModelError(f"{origin}: a name in it is no UTF-8 text; the file is damaged")
    shorten_default_domain(proto)
    try:  # outputs may come without a shape, which the checker wants
        inferred = onnx.shape_inference.infer_shapes(_without_unknown_operators(proto))
        onnx.checker.check_model(inferred)
    except (
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
        RuntimeError,
        ValueError,
    ) as error:
        raise ModelError(f"{origin}: not a valid ONNX model: {error}") from error


def _is_text(graph: onnx.GraphProto) -> bool:
    """Whether names are text: protobuf hands over damaged ones as bytes."""
    names: list[object] = [
        item.name for item in (*graph.input, *graph.output, *graph.initializer, *graph.value_info)
    ]
    for node in graph.node:
        names += [node.op_type, node.domain, node.name, *node.input, *node.output]
        names += [attribute.name for attribute in node.attribute]
    return all(isinstance(name, str) for name in names)


def _without_unknown_operators(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with operators onnx does not know (or deprecates) moved to a domain of their own, so that the
    checker passes over them.

    They are reported later, together with all others that are not supported.
    """
    versions = {entry.domain: entry.version for entry in proto.opset_import}
    opset = versions.get("", 0)
    unknown = {node.op_type for node in proto.graph.node if node.domain == "" and not _exists(node, opset)}
    if not unknown:
        return proto
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for node in copy.graph.node:
        if node.op_type in unknown:
            node.domain = "unknown"
    copy.opset_import.append(onnx.helper.make_opsetid("unknown", 1))
    return copy


def _exists(node: onnx.NodeProto, opset: int) -> bool:
    if not onnx.defs.has(node.op_type, max(opset, 1), ""):
        return False
    # GroupNormalization 18..20 is deprecated, yet exporters wrote it; the conversion to opset 23 knows it.
    return not onnx.defs.get_schema(node.op_type, max(opset, 1), "").deprecated
