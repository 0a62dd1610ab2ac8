"""Apache TVM as an emitter of C, without a TVM runtime: the side that asks.

TVM runs in a process of its own (`tvm_worker.py`), which a crash of TVM ends and nothing else. It comes by
`pip install tiercast[tvm]`; the pair of versions matters: other apache-tvm-ffi crash.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import Any

from tiercast.errors import GraphError, ToolchainError

VERSIONS = {"apache-tvm": "0.27.0.post1", "apache-tvm-ffi": "0.1.14.post1"}
_EXTRA = "pip install tiercast[tvm] (" + ", ".join(f"{name}=={text}" for name, text in VERSIONS.items()) + ")"
READY = {"ready": True}


@dataclass(frozen=True)
class Emission:
    """C functions and the calls that compute the model.

    source: C text, whose workspaces come of TVMBackendAllocWorkspace(device, id, bytes, code, bits).
    calls: function (or "copy") and its arguments, each a place ("in", "out", "sto", "const") and an index.
    storage: bytes of each intermediate buffer; constants: (dtype, bytes in hex).
    """

    source: str
    calls: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]
    storage: tuple[int, ...]
    constants: tuple[tuple[str, str], ...]


def check_versions() -> None:
    """ToolchainError that names the extra, where the pair of packages is not installed as it must be."""
    for name, wanted in VERSIONS.items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            raise ToolchainError(f"TVM is not installed ({name} is missing): {_EXTRA}") from None
        if found != wanted:
            raise ToolchainError(f"{name} {found} does not do, {wanted} is needed: {_EXTRA}")


class Worker:
    """The process that runs TVM. It has tested the pair of packages on itself before it is ready.

    Raises ToolchainError when they are not installed, or crash in that test.
    """

    def __init__(self) -> None:
        check_versions()
        self._process = self._start()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def emit(self, model: bytes) -> Emission:
        """The functions of an ONNX model with static shapes. GraphError says what TVM can't do, or that it
        crashed on it; the next model gets a new process then.
        """
        with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
            file.write(model)
            file.flush()
            answer = self._ask({"model": file.name})
        if answer is None:
            code = self._process.wait()
            self._process = self._start()
            raise GraphError(f"TVM crashed on it (exit code {code})")
        if "error" in answer:
            raise GraphError(f"TVM can't emit it: {answer['error']}")
        return Emission(
            answer["source"],
            tuple((name, tuple((place, index) for place, index in args)) for name, args in answer["calls"]),
            tuple(answer["storage"]),
            tuple((kind, data) for kind, data in answer["constants"]),
        )

    def close(self) -> None:
        """Ends the process."""
        if self._process.poll() is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.tvm_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        first = process.stdout.readline()
        if not first or json.loads(first) != READY:
            reason = json.loads(first).get("error", "") if first else f"exit code {process.wait()}"
            raise ToolchainError(f"TVM fails its self-test ({reason}); install the pair again: {_EXTRA}")
        return process

    def _ask(self, request: dict[str, Any]) -> dict[str, Any] | None:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return None
        line = self._process.stdout.readline()
        found: dict[str, Any] | None = json.loads(line) if line else None
        return found
