"""Converts a model for an engine, once per state of the sources, and remembers a failure with its reason."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.models.export_onnx import CACHE, REPOSITORY, code_only, onnx_path, sources_key

from .engines import OURS, engine

TIMEOUT_S = 900


@dataclass(frozen=True)
class Conversion:
    """What became of one conversion: `error` is empty where it worked."""

    key: str
    error: str
    seconds: float
    file_bytes: int


def pins() -> list[str]:
    """The peers' exact versions: the extra `peers` of pyproject.toml."""
    facts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    wanted: list[str] = facts["project"]["optional-dependencies"]["peers"]
    return wanted


def interpreter(name: str) -> Path:
    """The Python that runs engine `name`. Raises FileNotFoundError where that environment is missing."""
    if engine(name).PYTHON == "project":
        return Path(sys.executable)
    path = REPOSITORY / ".venv-peers" / "bin" / "python"
    if not path.exists():
        raise FileNotFoundError(f"{path}: the peers' environment is missing; run benchmarks/peers/setup.sh")
    return path


def folder_of(model: str, name: str) -> Path:
    """Where the files of one model for one engine lie."""
    return CACHE / model / name


def ensure(model: str, name: str, *, again: bool = False) -> Conversion:
    """The conversion of `model` for engine `name`, from the cache where its key is current.

    Our own compiler changes all the time, so it is run every time.
    """
    onnx_path(model)
    folder, key = folder_of(model, name), _key(model, name)
    status = folder / "conversion.json"
    if status.exists() and not again and name != OURS:
        stored = Conversion(**json.loads(status.read_text()))
        if stored.key == key:
            return stored
    folder.mkdir(parents=True, exist_ok=True)
    result = _run(model, name, folder, key)
    status.write_text(json.dumps(asdict(result), indent=1))
    return result


def _key(model: str, name: str) -> str:
    digest = hashlib.sha256(sources_key(model).encode())
    digest.update(code_only(Path(engine(name).__file__ or "")))  # type: ignore[attr-defined]
    digest.update(repr(pins()).encode())
    return digest.hexdigest()


def _run(model: str, name: str, folder: Path, key: str) -> Conversion:
    command = ["nice", "-n", "5", interpreter(name), "-m", __name__, model, name]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONWARNINGS": "ignore",
    }
    begin = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=REPOSITORY, env=environment, text=True, timeout=TIMEOUT_S,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        error = "" if done.returncode == 0 else _last_words(done.stdout, done.returncode)
    except subprocess.TimeoutExpired:
        error = f"conversion took more than {TIMEOUT_S} s"
    files = [folder / file for file in engine(name).FILES]
    if not error and not all(file.exists() for file in files):
        error = f"the converter wrote no {', '.join(file.name for file in files if not file.exists())}"
    size = 0 if error else sum(file.stat().st_size for file in files)
    return Conversion(key, error, round(time.monotonic() - begin, 1), size)


def _last_words(output: str, status: int) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return f"exit {status}: {' '.join(lines[-2:])[-400:]}"


if __name__ == "__main__":
    engine(sys.argv[2]).convert(sys.argv[1], folder_of(sys.argv[1], sys.argv[2]))
