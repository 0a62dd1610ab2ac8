"""MNN, converted from ONNX, precision "high" (which is f32)."""

from __future__ import annotations

import subprocess
import sys
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tiercast.peers.engines import Array, Arrays, Subject

MODULE = "MNN"
PACKAGES = ("MNN",)
FILES = ("model.mnn",)
# Not the wheel's `mnnconvert` script: that runs pip and reports usage to a server; the extension does not.
_CONVERT = "import sys, _tools; _tools.mnnconvert(sys.argv)"


# The default, LSTM as a loop, crashes on this exporter's LSTM (empty optional inputs); its RNN op does not.
_WAYS: tuple[tuple[str, ...], ...] = ((), ("--useOriginRNNImpl",))


def convert(subject: Subject, folder: Path) -> None:
    """ONNX -> MNN, in the first way that works. Raises RuntimeError with the converter's last words."""
    source, target = subject.onnx, folder / FILES[0]
    target.unlink(missing_ok=True)
    command = [sys.executable, "-c", _CONVERT, "-f", "ONNX"]
    command += ["--modelFile", str(source), "--MNNModel", str(target)]
    for way in _WAYS:
        done = subprocess.run(
            [*command, "--bizCode", "peer", *way], capture_output=True, text=True, timeout=300
        )
        if target.exists():
            return
    raise RuntimeError((done.stdout + done.stderr).strip()[-800:])


class Engine:
    """The Session API, which costs less per call; the Module API where a recurrent layer became a loop.

    There the Session API answers at once with nothing computed: its output sizes are not the model's.
    half: f16 where the CPU has it.
    """

    def __init__(
        self, folder: Path, inputs: Arrays, expected: Arrays, threads: int, half: bool = False
    ) -> None:
        config = {
            "backend": "CPU",
            "numThread": threads,
            "precision": "low" if half else "high",
            "memory": "normal",
            "power": "high",
        }
        file = str(folder / FILES[0])
        session = _Session(file, config, inputs, expected)
        self._way = session if session.complete else _Module(file, config, inputs, expected)

    def __call__(self) -> None:
        self._way.run()

    def outputs(self) -> Arrays:
        """By name."""
        return self._way.outputs()


class _Session:
    def __init__(self, file: str, config: dict[str, object], inputs: Arrays, expected: Arrays) -> None:
        import MNN

        self._interpreter = MNN.Interpreter(file)
        self._session = self._interpreter.createSession(config)
        results = self._interpreter.getSessionOutputAll(self._session)
        self.complete = all(
            name in results and prod(results[name].getShape()) == v.size for name, v in expected.items()
        )
        if not self.complete:
            return
        slots = self._interpreter.getSessionInputAll(self._session)
        self._inputs = [(slots[name], _host(MNN, value)) for name, value in inputs.items()]
        self._results = {name: (results[name], _host(MNN, np.zeros_like(v))) for name, v in expected.items()}

    def run(self) -> None:
        for slot, host in self._inputs:
            slot.copyFrom(host)
        self._interpreter.runSession(self._session)
        for result, host in self._results.values():
            result.copyToHostTensor(host)

    def outputs(self) -> Arrays:
        return {
            name: np.array(host.getData()).reshape(host.getShape())
            for name, (_, host) in self._results.items()
        }


class _Module:
    """Its results are lazy; `convert(...).read()` forces them."""

    def __init__(self, file: str, config: dict[str, object], inputs: Arrays, expected: Arrays) -> None:
        import MNN.expr as expr
        import MNN.nn as nn

        self._expr = expr
        self._runtime = nn.create_runtime_manager((config,))
        self._module = nn.load_module_from_file(
            file, list(inputs), list(expected), runtime_manager=self._runtime
        )
        self._arrays = [np.ascontiguousarray(value) for value in inputs.values()]
        self._inputs = [expr.placeholder(list(value.shape), expr.NCHW, expr.float) for value in self._arrays]
        self._names = list(expected)
        self._results: list[Array] = []

    def run(self) -> None:
        for placeholder, value in zip(self._inputs, self._arrays, strict=True):
            placeholder.write(value)
        results = self._module.forward(self._inputs)
        self._results = [self._expr.convert(result, self._expr.NCHW).read() for result in results]

    def outputs(self) -> Arrays:
        if len(self._results) != len(self._names):
            raise RuntimeError(f"MNN returned {len(self._results)} of {len(self._names)} outputs")
        return {name: np.array(value) for name, value in zip(self._names, self._results, strict=True)}


def _host(mnn: ModuleType, value: Array) -> Any:
    kind, order = mnn.Halide_Type_Float, mnn.Tensor_DimensionType_Caffe
    return mnn.Tensor(tuple(value.shape), kind, np.ascontiguousarray(value), order)
