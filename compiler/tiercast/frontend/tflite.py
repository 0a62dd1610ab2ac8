"""TFLite (LiteRT) files, read by the schema package `tflite`; TensorFlow is not needed.

The package `ai_edge_litert` is imported only where a file is its own reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from tiercast.errors import ModelError, UnsupportedError, UsageError
from tiercast.ir.weights import Weights

REFERENCE = "LiteRT"
TAKES = "a .tflite file, or its bytes"


def accepts(source: object) -> bool:
    """Whether this format reads `source`."""
    if isinstance(source, (bytes, bytearray)):
        return bytes(source[4:8]) == b"TFL3"
    return isinstance(source, (str, Path)) and Path(source).suffix in (".tflite", ".lite")


def read(source: Any, inputs: Mapping[str, Sequence[int]] | None) -> ir.Model:
    """The model in hub form; ports keep the file's names, shapes (images are N,H,W,C) and element types.

    Names are the signature's where the file has one that covers all inputs and outputs, else the tensors'.
    inputs: shapes other than the file's, say of another batch.
    Raises ModelError for a file that is damaged or holds what is not supported (all operators at once),
    UsageError for wrong inputs.
    """
    from tiercast.frontend.hub import to_hub

    origin, data = _open(source)
    with _named(origin):
        proto, weights = _translated(data, inputs or {}, origin)
    return to_hub(proto, None, origin, weights)


def reference(source: Any) -> Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]:
    """The file run by LiteRT with its default (XNNPACK) kernels; ModelError where that is not possible."""
    from tiercast.frontend.tflite_ops.file import read_file
    from tiercast.frontend.tflite_ops.ports import input_ports

    origin, data = _open(source)
    with _named(origin):
        names = [port.name for port in input_ports(read_file(data))]
    interpreter = _interpreter(origin, data)
    indices = [item["index"] for item in interpreter.get_input_details()]

    def run(arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        for name, index in zip(names, indices, strict=True):
            interpreter.resize_tensor_input(index, arrays[name].shape)
        interpreter.allocate_tensors()
        interpreter.reset_all_variables()  # states start at zero in every run
        for name, index in zip(names, indices, strict=True):
            interpreter.set_tensor(index, arrays[name])
        interpreter.invoke()
        return [np.array(interpreter.get_tensor(item["index"])) for item in interpreter.get_output_details()]

    return run


def _interpreter(origin: str, data: bytes) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise ModelError(
            f"{origin}: LiteRT is needed to run the file itself: pip install ai-edge-litert==2.3.0"
        ) from None
    try:
        interpreter = Interpreter(model_content=data, num_threads=1)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{origin}: LiteRT can't run it: {error}") from error
    return interpreter


def _open(source: Any) -> tuple[str, bytes]:
    if isinstance(source, (bytes, bytearray)):
        return "tflite:model", bytes(source)
    path = Path(source)
    origin = f"tflite:{path.name}"
    if not path.is_file():
        raise ModelError(f"{origin}: there is no file {path}")
    try:
        return origin, path.read_bytes()
    except OSError as error:
        raise ModelError(f"{origin}: it can't be read: {error}") from error


@contextmanager
def _named(origin: str) -> Iterator[None]:
    """Puts the file's name before errors."""
    try:
        yield
    except UnsupportedError:  # which says so itself
        raise
    except (ModelError, UsageError) as error:
        raise type(error)(f"{origin}: {error}") from error


def _translated(
    data: bytes, inputs: Mapping[str, Sequence[int]], origin: str
) -> tuple[onnx.ModelProto, Weights]:
    from tiercast.frontend.tflite_ops.builder import Builder
    from tiercast.frontend.tflite_ops.file import read_file
    from tiercast.frontend.tflite_ops.ports import bind_inputs, collect_outputs
    from tiercast.frontend.tflite_ops.scope import Scope
    from tiercast.frontend.tflite_ops.walk import check_operators, run_subgraph

    model = read_file(data)
    check_operators(model, origin)
    builder = Builder()
    scope = Scope(model, model.subgraphs[0], builder)
    ports = bind_inputs(scope, inputs)
    run_subgraph(scope)
    results = collect_outputs(scope)
    return builder.model(model.subgraphs[0].name or "main", ports, results)
