"""One process = one engine x one model: loads, checks itself against PyTorch, then times on request.

    python -m benchmarks.peers.worker ENGINE MODEL THREADS CPUS

Prints one JSON line (`Loaded`, or an error), then answers each line `SECONDS MIN_CALLS` with
`{"wall_ns": [...], "cpu_ns": [...]}`; ends with its input. The driver stops (SIGSTOP) idle workers.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.models.reference import max_relative_error, read_reference

from .convert import folder_of
from .engines import Engine, engine

MAX_CALLS = 5000


@dataclass(frozen=True)
class Loaded:
    """Facts of one loaded model; `peak_growth_mb` is resident memory over the empty engine (MiB)."""

    error: float
    load_ms: float
    first_ms: float
    peak_growth_mb: float


def load(name: str, model: str, threads: int) -> tuple[Engine, Loaded]:
    """Loads and runs once. Raises whatever the engine raises."""
    inputs, expected = read_reference(model)
    importlib.import_module(engine(name).MODULE)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak that the import made
    before_mb = _memory_mb("VmRSS")
    begin = time.perf_counter()
    ready = engine(name).Engine(folder_of(model, name), inputs, expected, threads)
    loaded = time.perf_counter()
    ready()
    ran = time.perf_counter()
    growth_mb = _memory_mb("VmHWM") - before_mb
    got = ready.outputs()
    error = max(max_relative_error(got[key], value) for key, value in expected.items())
    return ready, Loaded(error, (loaded - begin) * 1e3, (ran - loaded) * 1e3, growth_mb)


def visit(ready: Engine, seconds: float, min_calls: int) -> dict[str, list[int]]:
    """Times calls for `seconds`, at least `min_calls`; one untimed call first warms the caches."""
    wall: list[int] = []
    cpu: list[int] = []
    ready()
    end = time.perf_counter() + seconds
    while len(wall) < min_calls or (time.perf_counter() < end and len(wall) < MAX_CALLS):
        cpu_begin, wall_begin = time.process_time_ns(), time.perf_counter_ns()
        ready()
        wall_end, cpu_end = time.perf_counter_ns(), time.process_time_ns()
        wall.append(wall_end - wall_begin)
        cpu.append(cpu_end - cpu_begin)
    return {"wall_ns": wall, "cpu_ns": cpu}


def _memory_mb(field: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Serves until its input ends."""
    name, model, threads, cpus = sys.argv[1:5]
    os.sched_setaffinity(0, {int(cpu) for cpu in cpus.split(",")})
    answers = os.fdopen(os.dup(1), "w", buffering=1)  # engines chat on stdout
    os.dup2(2, 1)
    try:
        ready, facts = load(name, model, int(threads))
    except Exception as error:
        traceback.print_exc()
        answers.write(json.dumps({"failed": f"{type(error).__name__}: {error}"[:400]}) + "\n")
        return
    answers.write(json.dumps(asdict(facts)) + "\n")
    for line in sys.stdin:
        seconds, min_calls = line.split()
        answers.write(json.dumps(visit(ready, float(seconds), int(min_calls))) + "\n")


if __name__ == "__main__":
    main()
