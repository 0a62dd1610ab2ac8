"""TensorFlow itself: models as functions, frozen for static shapes, converted and run.

The only file of the compiler that imports tensorflow, and the program of the process that reads its files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tiercast.errors import ModelError, UsageError
from tiercast.frontend.dimensions import fix_dimensions
from tiercast.frontend.tf_conversion import failures, to_onnx
from tiercast.frontend.worker import serve

KERAS = (".keras", ".h5", ".hdf5")


@dataclass(frozen=True)
class Program:
    """A model as a function: `call` takes a tensor for each of `inputs` (tf.TensorSpec, named) in order and
    returns one for each of `outputs` (names).
    """

    origin: str
    inputs: Sequence[Any]
    outputs: Sequence[str]
    call: Callable[..., Sequence[Any]]


def place(source: str) -> tuple[Path, str | None]:
    """The file or SavedModel folder that `source` names and, after a colon, the choice of a signature or of
    outputs.
    """
    path, choice = Path(source), None
    before, colon, after = source.rpartition(":")
    if colon and not path.exists() and (Path(before).is_dir() or before.endswith(".pb")):
        path, choice = Path(before), after
    return (path.parent if path.name == "saved_model.pb" else path), choice


def origin_of(source: Any) -> str:
    """How errors name the source."""
    if isinstance(source, (str, Path)):
        return f"tensorflow:{place(str(source))[0].name}"
    return f"tensorflow:{getattr(source, 'name', type(source).__name__)}"


def _open(source: str) -> Program:
    path, choice = place(source)
    origin = origin_of(source)
    if not path.exists():
        raise ModelError(f"{origin}: there is no file or folder {path}")
    if path.is_dir():
        return _saved_program(path, choice, origin)
    if path.suffix == ".pb":
        return _frozen_program(path, choice, origin)
    return keras_program(_load_keras(path, origin), origin)


def _saved_program(path: Path, choice: str | None, origin: str) -> Program:
    import tensorflow as tf

    if not (path / "saved_model.pb").is_file():
        raise ModelError(f"{origin}: the folder holds no saved_model.pb, so it is no SavedModel")
    try:
        loaded = tf.saved_model.load(str(path))
    except Exception as error:  # TensorFlow's errors, protobuf's, OSError, KeyError...
        raise ModelError(f"{origin}: not a SavedModel, or damaged: {_first_line(error)}") from error
    known = {name: item for name, item in loaded.signatures.items() if not name.startswith("__")}
    if choice is None:
        choice = next(iter(known)) if len(known) == 1 else "serving_default"
    if choice not in known:
        listed = ", ".join(sorted(known)) or "none: export it with signatures"
        raise UsageError(
            f"{origin}: it has no signature {choice!r}; its signatures are {listed}"
            + (f'. Choose one: "{path}:{sorted(known)[0]}"' if known else "")
        )
    signature = known[choice]
    named = signature.structured_input_signature[1]  # a SavedModel keeps no order of ports
    specs = {name: named[name] for name in sorted(named, key=_by_number)}
    inputs = [tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in specs.items()]
    outputs = sorted(signature.structured_outputs, key=_by_number)

    def call(*tensors: Any) -> list[Any]:
        made = signature(**dict(zip(specs, tensors, strict=True)))
        return [made[name] for name in outputs]

    call.keeps = loaded  # type: ignore[attr-defined]  # the signature holds its variables weakly
    return Program(origin, inputs, outputs, call)


def _by_number(name: str) -> list[tuple[str, int]]:
    """Sorts output_2 before output_10."""
    return [(text, int(number or -1)) for text, number in re.findall(r"(\D*)(\d*)", name)]


def _load_keras(path: Path, origin: str) -> Any:
    import keras

    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # ValueError, TypeError, OSError, KeyError, zip's and h5py's
        text = str(error)
        if "unsafe" in text or "safe_mode" in text or "arbitrary code" in text:
            why = "it holds Python code (a Lambda layer), and Tiercast runs no code from a model file"
        elif "Could not locate" in text or "Unknown layer" in text or "custom" in text:
            why = f"it uses Python classes that the file does not hold: {_first_line(error)}"
        else:
            raise ModelError(f"{origin}: not a Keras model, or damaged: {_first_line(error)}") from error
        raise ModelError(
            f"{origin}: {why}\nPass the keras.Model itself (tiercast.compile(model)), or what "
            'model.export("folder") writes.'
        ) from error


def keras_program(model: Any, origin: str) -> Program:
    """A keras.Model as a function; ports are called like the input layers and output layers.

    Raises ModelError for a model that says nothing of its inputs, or runs on another backend.
    """
    import keras
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        raise ModelError(f"{origin}: Keras runs on {keras.backend.backend()}; set KERAS_BACKEND=tensorflow")
    try:
        ports, results = list(model.inputs or ()), list(model.outputs or ())
    except (AttributeError, ValueError):
        ports, results = [], []
    if not ports or not results:
        raise ModelError(
            f"{origin}: the model says nothing about its inputs: it is subclassed or not built. "
            'Export it with model.export("folder", input_signature=[...]) and pass the folder'
        )
    flat = keras.Model(ports, results)  # a list in, a list out, whatever the model's own structure
    layers = [getattr(getattr(port, "_keras_history", None), "operation", port) for port in ports]
    inputs = [
        tf.TensorSpec(port.shape, port.dtype, layer.name) for port, layer in zip(ports, layers, strict=True)
    ]

    def call(*tensors: Any) -> list[Any]:
        made: list[Any] = keras.tree.flatten(flat(list(tensors), training=False))
        return made

    return Program(origin, inputs, list(model.output_names), call)


def _frozen_program(path: Path, choice: str | None, origin: str) -> Program:
    import tensorflow as tf
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    graph = tf.compat.v1.GraphDef()
    try:
        graph.ParseFromString(path.read_bytes())
    except (DecodeError, OSError) as error:
        raise ModelError(f"{origin}: not a frozen GraphDef, or cut short: {_first_line(error)}") from error
    if not graph.node:
        raise ModelError(f"{origin}: it holds no nodes; is it a frozen GraphDef?")
    for node in graph.node:
        node.attr.pop("_output_shapes", None)
    variables = [node.name for node in graph.node if node.op in ("VariableV2", "Variable", "VarHandleOp")]
    if variables:
        raise ModelError(
            f"{origin}: it is not frozen: {', '.join(variables[:4])} are variables, whose values are "
            "elsewhere; pass the SavedModel folder, or freeze it (convert_variables_to_constants)"
        )
    holders = {node.name: node for node in graph.node if node.op == "Placeholder"}
    try:
        with tf.Graph().as_default() as known:
            tf.graph_util.import_graph_def(graph, name="")
        inputs = [known.get_tensor_by_name(f"{name}:0") for name in holders]
        tensors = _results(known, choice, origin)
    except ValueError as error:
        raise ModelError(f"{origin}: TensorFlow can't read the graph: {_first_line(error)}") from error

    @tf.function(autograph=False)  # type: ignore[untyped-decorator,unused-ignore]
    def call(*given: Any) -> list[Any]:
        feeds = {f"{name}:0": tensor for name, tensor in zip(holders, given, strict=True)}
        made: list[Any] = tf.graph_util.import_graph_def(
            graph, feeds, [item.name for item in tensors], name=""
        )
        return made

    specs = [tf.TensorSpec(item.shape, item.dtype, item.op.name) for item in inputs]
    return Program(origin, specs, [item.name.removesuffix(":0").replace(":", "_") for item in tensors], call)


def _results(graph: Any, choice: str | None, origin: str) -> list[Any]:
    """The tensors that `choice` names, else those that nobody reads."""
    if choice is not None:
        names = [name if ":" in name else f"{name}:0" for name in choice.split(",")]
        try:
            return [graph.get_tensor_by_name(name) for name in names]
        except (KeyError, ValueError) as error:
            raise UsageError(f"{origin}: {choice!r} names no outputs: {_first_line(error)}") from error
    idle = ("Placeholder", "Const", "NoOp", "Assert", "Print")
    ends = [op for op in graph.get_operations() if op.type not in idle and op.outputs]
    found = [out for op in ends if not any(out.consumers() for out in op.outputs) for out in op.outputs]
    if not found:
        raise ModelError(
            f"{origin}: every value of the graph is read by another; name its outputs, {origin}:name"
        )
    return found


def _concrete(program: Program, shapes: Mapping[str, Sequence[int]]) -> Any:
    """The program traced for static shapes: a ConcreteFunction with named inputs."""
    import tensorflow as tf

    ports = []
    for spec in program.inputs:
        if spec.dtype in (tf.string, tf.resource, tf.variant):
            raise ModelError(
                f"{program.origin}: input {spec.name!r} is a {spec.dtype.name}; only numbers can be"
            )
        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype.as_numpy_dtype))
        dims = None if spec.shape.rank is None else spec.shape.as_list()
        ports.append(onnx.helper.make_tensor_value_info(spec.name, kind, dims))
    proto = onnx.helper.make_model(onnx.helper.make_graph([], "ports", ports, []))
    fix_dimensions(proto, shapes, program.origin)
    specs = [
        tf.TensorSpec(
            [dim.dim_value for dim in port.type.tensor_type.shape.dim], spec.dtype, f"input_{index}"
        )
        for index, (port, spec) in enumerate(zip(proto.graph.input, program.inputs, strict=True))
    ]

    def call(*tensors: Any) -> list[Any]:
        return [tf.identity(item) for item in program.call(*tensors)]

    try:
        return tf.function(call, autograph=False).get_concrete_function(*specs)
    except Exception as error:  # whatever the model's layers raise
        raise ModelError(
            f"{program.origin}: TensorFlow refuses these shapes: {_first_line(error)}"
        ) from error


def convert(program: Program, shapes: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """The program as an ONNX model of static shapes; shapes: what open dimensions become, by input name.

    Raises UsageError for wrong shapes, ModelError for what is left open and what can't be converted.
    """
    import tensorflow as tf
    from tf2onnx import tf_loader

    function = _concrete(program, shapes)
    inputs = [item.name for item in function.inputs[: len(program.inputs)]]
    outputs = [item.name for item in function.outputs]
    names = dict(
        zip([*inputs, *outputs], _unique([*(s.name for s in program.inputs), *program.outputs]), strict=True)
    )
    try:
        with failures():
            frozen = tf_loader.from_function(function, inputs, outputs)
            if _allow_inlining(frozen):
                with tf.Graph().as_default():
                    tf.import_graph_def(frozen, name="")
                    frozen = tf_loader.tf_optimize(inputs, outputs, frozen)
    except Exception as error:  # grappler's and freezing's
        raise ModelError(
            f"{program.origin}: TensorFlow can't freeze the model: {_first_line(error)}"
        ) from error
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(frozen, name="")
        made: onnx.ModelProto = to_onnx(graph, inputs, outputs, names, program.origin)
        return made


def _allow_inlining(frozen: Any) -> bool:
    """Takes off the marks that keep TensorFlow from inlining functions meant for XLA (Keras' grouped
    convolutions); whether there were any.
    """
    functions = frozen.library.function
    marked = [*frozen.node, *functions, *(node for item in functions for node in item.node_def)]
    marks = ("_XlaMustCompile", "_noinline")
    return any([item.attr.pop(mark, None) is not None for item in marked for mark in marks])


def _unique(names: Sequence[str]) -> list[str]:
    made: list[str] = []
    for name in names:
        free, count = name, 1
        while free in made:
            free, count = f"{name}_{count}", count + 1
        made.append(free)
    return made


def run(program: Program, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What TensorFlow computes: one array for each output in order."""
    import tensorflow as tf

    tensors = [tf.constant(inputs[spec.name], spec.dtype) for spec in program.inputs]
    return [np.asarray(item) for item in program.call(*tensors)]


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def main() -> None:
    """Serves `convert` and `run` requests of `read` and `reference`; the last source stays open."""
    opened: dict[tuple[str, int], Program] = {}

    def program(request: dict[str, Any]) -> Program:
        path, _ = place(request["source"])
        file = path / "saved_model.pb" if path.is_dir() else path
        key = request["source"], file.stat().st_mtime_ns if file.exists() else 0
        if key not in opened:
            opened.clear()
            opened[key] = _open(request["source"])
        return opened[key]

    def answer_convert(request: dict[str, Any]) -> dict[str, Any]:
        onnx.save(convert(program(request), request["inputs"]), request["to"])
        return {}

    def answer_run(request: dict[str, Any]) -> dict[str, Any]:
        with np.load(request["inputs"]) as arrays:
            inputs = {name.removeprefix("i_"): arrays[name] for name in arrays.files}
        made = run(program(request), inputs)
        named: dict[str, Any] = {f"o_{index}": array for index, array in enumerate(made)}
        np.savez(request["to"], **named)
        return {}

    serve({"convert": answer_convert, "run": answer_run})


if __name__ == "__main__":
    main()
