"""Runs inside the emulator: one peer, one model, the second inference marked for the instruction counter.

python -m benchmarks.arm.guest ENGINE FOLDER f32|f16 ANSWER

FOLDER is the model's (tiercast.peers.subject). Writes the largest relative error into ANSWER as JSON.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path

from tiercast.peers.engines import engine
from tiercast.peers.subject import max_relative_error, read_reference

MARK = 0x1EAF  # as in targets/qemu/counter.c


def main(name: str, folder: str, precision: str, answer: str) -> None:
    """Loads, runs once to warm up and once marked. Raises what the engine raises."""
    libc = ctypes.CDLL(None)
    inputs, expected, _ = read_reference(Path(folder))
    options = {"half": True} if precision == "f16" else {}
    ready = engine(name).Engine(Path(folder) / name, inputs, expected, 1, **options)
    ready()
    libc.syscall(MARK, 1)
    ready()
    libc.syscall(MARK, 0)
    got = ready.outputs()
    error = max(max_relative_error(got[key], value) for key, value in expected.items())
    Path(answer).write_text(json.dumps({"error": error}))


if __name__ == "__main__":
    main(*sys.argv[1:])
