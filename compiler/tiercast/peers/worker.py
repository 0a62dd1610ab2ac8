"""One process = one engine x one model: loads, checks itself against the reference, then times on request.

    python -m tiercast.peers.worker FOLDER ENGINE THREADS CPUS

Prints one JSON line (`Loaded`, or an error), then answers each line `SECONDS MIN_CALLS` with
`{"wall_ms": [...], "cpu_ms": ...}`; ends with its input. The driver stops (SIGSTOP) idle workers.
The engine `peak` is none: it answers with the machine's FMA rate, `{"gflops": ...}`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tiercast.peers.engines import Engine, engine
from tiercast.peers.subject import max_relative_error, read_reference, read_subject, signal_to_noise_db

PEAK = "peak"
_MAX_CALLS = 5000


@dataclass(frozen=True)
class Loaded:
    """Facts of one loaded model.

    error, sqnr_db: of the output that is furthest from the reference (max_relative_error,
    signal_to_noise_db; 999 where all are equal to it, -999 where one is no answer).
    load: from the engine imported to the model ready; first: the first run. Wall time, and CPU time of all
    threads.
    peak_growth_mb: resident memory over the imported engine (MiB), at its highest.
    """

    error: float
    sqnr_db: float
    load_ms: float
    load_cpu_ms: float
    first_ms: float
    first_cpu_ms: float
    peak_growth_mb: float


def load(name: str, folder: Path, threads: int) -> tuple[Engine, Loaded]:
    """Loads and runs once. Raises whatever the engine raises."""
    inputs, expected, _ = read_reference(folder)
    importlib.import_module(engine(name).MODULE)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak that the import made
    before_mb = _memory_mb("VmRSS")
    begin, begin_cpu = time.perf_counter(), time.process_time()
    ready = engine(name).Engine(read_subject(folder).engine_folder(name), inputs, expected, threads)
    loaded, loaded_cpu = time.perf_counter(), time.process_time()
    ready()
    ran, ran_cpu = time.perf_counter(), time.process_time()
    growth_mb = _memory_mb("VmHWM") - before_mb
    got = ready.outputs()
    error = max(max_relative_error(got[key], value) for key, value in expected.items())
    sqnr_db = min(signal_to_noise_db(got[key], value) for key, value in expected.items())
    return ready, Loaded(
        error, min(max(sqnr_db, -999), 999), (loaded - begin) * 1e3, (loaded_cpu - begin_cpu) * 1e3,
        (ran - loaded) * 1e3, (ran_cpu - loaded_cpu) * 1e3, growth_mb,
    )  # fmt: skip


def visit(ready: Engine, seconds: float, min_calls: int, threads: int) -> dict[str, Any]:
    """Times calls for `seconds`, at least `min_calls`; one untimed call first warms the caches.

    wall_ms: each call's. cpu_ms: of one thread the least of a call; of several the mean over the visit, since
    the system tells what other threads have used only now and then.
    """
    wall: list[float] = []
    cpu: list[float] = []
    ready()
    begin, end = time.process_time(), time.perf_counter() + seconds
    while len(wall) < min_calls or (time.perf_counter() < end and len(wall) < _MAX_CALLS):
        cpu_begin, wall_begin = time.process_time_ns(), time.perf_counter_ns()
        ready()
        wall_end, cpu_end = time.perf_counter_ns(), time.process_time_ns()
        wall.append((wall_end - wall_begin) / 1e6)
        cpu.append((cpu_end - cpu_begin) / 1e6)
    mean = (time.process_time() - begin) * 1e3 / len(wall)
    return {"wall_ms": wall, "cpu_ms": min(cpu) if threads == 1 else mean}


def _memory_mb(field: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def _visitor(
    name: str, folder: Path, threads: int
) -> tuple[Callable[[float, int], dict[str, Any]], dict[str, Any]]:
    if name == PEAK:
        from tiercast import _native

        return lambda _seconds, _calls: {"gflops": _native.peak_gflops()}, {}
    ready, facts = load(name, folder, threads)
    return lambda seconds, calls: visit(ready, seconds, calls, threads), asdict(facts)


def main() -> None:
    """Serves until its input ends."""
    folder, name, threads, cpus = sys.argv[1:5]
    os.sched_setaffinity(0, {int(cpu) for cpu in cpus.split(",")})
    answers = os.fdopen(os.dup(1), "w", buffering=1)  # engines chat on stdout
    os.dup2(2, 1)
    try:
        answer, facts = _visitor(name, Path(folder), int(threads))
    except Exception as error:
        traceback.print_exc()
        answers.write(json.dumps({"failed": f"{type(error).__name__}: {error}"[:400]}) + "\n")
        return
    answers.write(json.dumps(facts) + "\n")
    for line in sys.stdin:
        seconds, min_calls = line.split()
        answers.write(json.dumps(answer(float(seconds), int(min_calls))) + "\n")


if __name__ == "__main__":
    main()
