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
from tiercast.frontend.external import map_external
from tiercast.frontend.hub import to_hub
from tiercast.frontend.opset import model_opset, shorten_default_domain
from tiercast.frontend.pieces import has_custom_nodes, reference_in_pieces
from tiercast.frontend.structure import check_initializers, check_structure
from tiercast.ir.domain import declare_foreign
from tiercast.ir.weights import light_copy, light_proto
from tiercast.ops.registry import extra_ops

REFERENCE = "onnxruntime, optimisations off"
_MOST_PROTO_BYTES = (1 << 31) - 1
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
        origin = f"onnx:{path.name}"
        proto, weights = _open(_parse(path, origin), path.parent, origin)
    else:
        origin = f"onnx:{source.graph.name or 'model'}"
        proto, weights = light_proto(source) if isinstance(source, ir.Model) else _open(source, None, origin)
    return to_hub(proto, inputs, origin, weights)


def reference(source: Any) -> Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]:
    """The model as it came, run by onnxruntime on the CPU; ModelError when onnxruntime refuses it.

    Operators that a user's own op takes are computed by that op's numpy `reference`.
    """
    if extra_ops():
        proto = onnx.load(str(source)) if isinstance(source, (str, Path)) else source
        whole = ir.to_proto(proto) if isinstance(proto, ir.Model) else proto
        if has_custom_nodes(whole):
            return reference_in_pieces(whole, _session)
    return _session(source)


def _session(source: Any) -> Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    given: str | bytes
    kept: list[Any] = []
    if isinstance(source, (str, Path)):
        given = str(source)
    else:
        given, kept = _with_weights_apart(source, options)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class
        raise ModelError(f"onnx: onnxruntime can't be the reference: {error}") from error

    def run(inputs: Mapping[str, np.ndarray], _kept: list[Any] = kept) -> list[np.ndarray]:
        return [np.asarray(array) for array in session.run(None, dict(inputs))]

    return run


def intermediates(source: Any) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """Every node's results in the model as it came, by name."""
    if isinstance(source, (str, Path)):
        proto = onnx.load(source)
    else:
        proto = (
            ir.to_proto(source)
            if isinstance(source, ir.Model)
            else onnx.ModelProto.FromString(source.SerializeToString())
        )
    known = {port.name for port in proto.graph.output}
    names = [name for node in proto.graph.node for name in node.output if name]
    proto.graph.output.extend(
        onnx.helper.make_empty_tensor_value_info(name) for name in names if name not in known
    )
    run = reference(proto)
    order = [port.name for port in proto.graph.output]

    def values(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = dict(zip(order, run(inputs), strict=True))
        return {name: found[name] for name in names}

    return values


def _with_weights_apart(source: ir.Model | onnx.ModelProto, options: Any) -> tuple[bytes, list[Any]]:
    """The model's bytes without its heavy weights, which `options` gets, and what must stay alive."""
    import onnxruntime

    proto, weights = light_proto(source) if isinstance(source, ir.Model) else light_copy(source)
    for port in [port for port in proto.graph.input if port.name in weights]:
        proto.graph.input.remove(port)
        tensor = proto.graph.initializer.add(name=port.name, data_type=port.type.tensor_type.elem_type)
        tensor.dims.extend(dim.dim_value for dim in port.type.tensor_type.shape.dim)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="in memory")
    arrays = {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in weights.items()}
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in arrays.values()]
    options.add_external_initializers(list(arrays), values)
    return proto.SerializeToString(), [arrays, values]


def _parse(path: Path, origin: str) -> onnx.ModelProto:
    """The file's ModelProto; external data is left where it is."""
    if not path.exists():
        raise ModelError(f"{origin}: there is no file {path}")
    if not path.is_file():
        raise ModelError(f"{origin}: {path} is a folder, not a file")
    size = path.stat().st_size
    if size == 0:
        raise ModelError(f"{origin}: {path} is empty; export or copy it again")
    if size >= _MOST_PROTO_BYTES:
        raise ModelError(
            f"{origin}: {path} has {size} bytes, protobuf holds 2 GB; export it with its weights as external "
            "data"
        )
    try:
        return onnx.load_model_from_string(path.read_bytes())
    except DecodeError as error:
        raise ModelError(
            f"{origin}: not an ONNX model, or cut short ({size} bytes): {error}; export or copy it again"
        ) from error
    except OSError as error:
        raise ModelError(f"{origin}: {path} can't be read: {error.strerror or error}") from error


def _open(
    proto: onnx.ModelProto, folder: Path | None, origin: str
) -> tuple[onnx.ModelProto, dict[str, ir.TensorProtocol]]:
    """A light copy (`ir.weights`) of a valid model, with its heavy constants; ModelError when it is not."""

    def tensor(initializer: onnx.TensorProto) -> ir.TensorProtocol:
        if initializer.data_location != onnx.TensorProto.EXTERNAL:
            data = ir.serde.deserialize_tensor(initializer)
            return ir.Tensor(data.numpy(), data.dtype, name=data.name)  # the ModelProto needn't stay for it
        if folder is None:
            raise ModelError(
                f"{origin}: initializer {initializer.name!r} has external data, and a ModelProto has no "
                "folder to find it in; pass the file's path, or load it with onnx.load"
            )
        return map_external(initializer, folder, origin)

    if not proto.graph.node and not proto.graph.output:
        raise ModelError(f"{origin}: it holds no graph; is it an ONNX model?")
    if not _is_text(proto.graph):
        raise ModelError(f"{origin}: a name in it is no UTF-8 text; the file is damaged")
    _check_initializers(proto, origin)
    try:
        light, weights = light_copy(proto, tensor)
    except UnicodeDecodeError as error:
        raise ModelError(f"{origin}: a text in it is no UTF-8; the file is damaged: {error}") from error
    shorten_default_domain(light)
    declare_foreign(light)
    model_opset(light, origin)
    check_structure(light, origin)
    _check(light, origin)
    return light, weights


def _check_initializers(proto: onnx.ModelProto, origin: str) -> None:
    try:
        check_initializers(proto.graph)
    except ModelError as error:
        raise type(error)(f"{origin}: {error}") from None


def _check(proto: onnx.ModelProto, origin: str) -> None:
    """What else onnx's checker knows."""
    copy = _without_unknown_operators(proto)
    for port in copy.graph.output:  # they may come without a type, which the checker wants
        tensor = port.type.tensor_type
        if not port.type.WhichOneof("value") or port.type.HasField("tensor_type"):
            tensor.elem_type = tensor.elem_type or onnx.TensorProto.FLOAT
            tensor.shape.SetInParent()
    try:
        onnx.checker.check_model(copy)
        onnx.shape_inference.infer_shapes(copy, check_type=True)  # in the opset that knows all its types
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
    """A copy of the model with operators onnx does not know (or deprecates) moved to a domain of their own,
    so that the checker passes over them.

    They are reported later, together with all others that are not supported.
    """
    versions = {entry.domain: entry.version for entry in proto.opset_import}
    opset = versions.get("", 0)
    unknown = {node.op_type for node in proto.graph.node if node.domain == "" and not _exists(node, opset)}
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for node in copy.graph.node:
        if node.op_type in unknown:
            node.domain = "unknown"
    if unknown:
        copy.opset_import.append(onnx.helper.make_opsetid("unknown", 1))
    return copy


def _exists(node: onnx.NodeProto, opset: int) -> bool:
    if not onnx.defs.has(node.op_type, max(opset, 1), ""):
        return False
    # GroupNormalization 18..20 is deprecated, yet exporters wrote it; the conversion to opset 23 knows it.
    return not onnx.defs.get_schema(node.op_type, max(opset, 1), "").deprecated
