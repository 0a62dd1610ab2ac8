"""TensorFlow's model files, and Keras models in memory; needs the extra [tf].

Files are read by a process of their own, whose program is `tensorflow`. Models in memory stay in the process
that made them.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from tiercast.errors import ModelError
from tiercast.frontend import tensorflow
from tiercast.frontend.hub import to_hub
from tiercast.frontend.worker import Worker

REFERENCE = "TensorFlow"
TAKES = (
    'a SavedModel folder ("folder:signature" chooses one), a .keras or .h5 file, a frozen .pb graph '
    '("graph.pb:output,output" chooses its outputs), or a keras.Model'
)
_QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",  # rounds like the kernels that were not reordered
    "CUDA_VISIBLE_DEVICES": "-1",
    "KERAS_BACKEND": "tensorflow",
}


def accepts(source: object) -> bool:
    """Whether this format reads `source`; does not import tensorflow."""
    if isinstance(source, (str, Path)):
        path, _ = tensorflow.place(str(source))
        return path.suffix in (*tensorflow.KERAS, ".pb") or path.is_dir()
    return _is_keras_model(source)


def read(source: Any, inputs: Mapping[str, Sequence[int]] | None) -> ir.Model:
    """The model in hub form; ports are called as in the signature, like Keras' layers or the graph's nodes.

    Raises UsageError for wrong inputs or an unknown signature, ModelError for what is no such model, what
    would run code from a file, and what can't be converted.
    """
    origin = tensorflow.origin_of(source)
    shapes = {name: list(dims) for name, dims in (inputs or {}).items()}
    if not isinstance(source, (str, Path)):
        return to_hub(tensorflow.convert(tensorflow.keras_program(source, origin), shapes), None, origin)
    _need_packages(origin)
    with tempfile.TemporaryDirectory(prefix="tiercast-") as folder:
        path = Path(folder) / "model.onnx"
        _worker().ask(origin, do="convert", source=_absolute(source), inputs=shapes, to=str(path))
        proto = onnx.load(path)
    return to_hub(proto, None, origin)


def reference(source: Any) -> Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]:
    """The model run by TensorFlow on the CPU."""
    origin = tensorflow.origin_of(source)
    if not isinstance(source, (str, Path)):
        program = tensorflow.keras_program(source, origin)
        return lambda inputs: tensorflow.run(program, inputs)
    _need_packages(origin)

    def run(inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        with tempfile.TemporaryDirectory(prefix="tiercast-") as folder:
            given, made = f"{folder}/inputs.npz", f"{folder}/outputs.npz"
            named: dict[str, Any] = {f"i_{name}": array for name, array in inputs.items()}
            np.savez(given, **named)
            _worker().ask(origin, do="run", source=_absolute(source), inputs=given, to=made)
            with np.load(made) as arrays:
                return [arrays[f"o_{index}"] for index in range(len(arrays.files))]

    return run


@cache
def _worker() -> Worker:
    return Worker("tiercast.frontend.tensorflow", _QUIET)


def _absolute(source: str | Path) -> str:
    return str(Path(source).absolute())  # the process may have been started in another folder


def _need_packages(origin: str) -> None:
    missing = [name for name in ("tensorflow", "tf2onnx") if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(
            f"{origin}: reading it needs {' and '.join(missing)}, which the extra [tf] brings: "
            "pip install 'tiercast[tf]'"
        )


def _is_keras_model(value: object) -> bool:
    return any(
        cls.__name__ == "Model" and cls.__module__.split(".")[0] == "keras" for cls in type(value).__mro__
    )
