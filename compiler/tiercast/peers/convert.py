"""Converts a model for an engine, once per state of both, and remembers a failure with its reason."""

from __future__ import annotations

import ast
import hashlib
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tiercast.peers.engines import OURS, engine
from tiercast.peers.environment import Environment, pins_of, variables
from tiercast.peers.subject import Subject, read_subject

TIMEOUT_S = 900


@dataclass(frozen=True)
class Conversion:
    """What became of one conversion: `error` is empty where it worked."""

    key: str
    error: str
    seconds: float
    file_bytes: int


def ensure(subject: Subject, name: str, environment: Environment) -> Conversion:
    """The conversion of `subject` for engine `name`, from the subject's folder where its key is current.

    Our own compiler changes all the time, so it is run every time.
    """
    folder, key = subject.engine_folder(name), conversion_key(subject, name)
    status = folder / "converted.json"
    if status.exists() and name != OURS:
        stored = Conversion(**json.loads(status.read_text()))
        if stored.key == key:
            return stored
    folder.mkdir(parents=True, exist_ok=True)
    result = _run(subject, name, folder, key, environment)
    status.write_text(json.dumps(asdict(result), indent=1))
    return result


def conversion_key(subject: Subject, name: str) -> str:
    """Hash of the model, of the code that converts (not its comments and layout), and of the pins."""
    source = Path(engine(name).__file__ or "").read_text()  # type: ignore[attr-defined]
    facts = (subject.digest(), bool(subject.torch), ast.dump(ast.parse(source)), pins_of(name))
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def _run(subject: Subject, name: str, folder: Path, key: str, environment: Environment) -> Conversion:
    command = environment.command(name, __name__, str(subject.folder), name)
    begin = time.monotonic()
    try:
        done = subprocess.run(
            ["nice", "-n", "5", *command], env=variables(1), text=True, timeout=TIMEOUT_S,
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
    if lines and "Error: " in lines[-1]:  # Python's own last line
        return lines[-1][-400:]
    return f"exit {status}: {' '.join(lines[-2:])[-400:]}"


if __name__ == "__main__":
    chosen = read_subject(Path(sys.argv[1]))
    engine(sys.argv[2]).convert(chosen, chosen.engine_folder(sys.argv[2]))
