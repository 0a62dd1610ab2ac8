"""Compiles one net of the zoo, runs it and compares it with its framework."""

from __future__ import annotations

import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.zoo.subject import Made, Subject
from tiercast.errors import TiercastError
from tiercast.frontend import reference
from tiercast.package.file import write_package
from tiercast.parity import complete_inputs, difference
from tiercast.passes.transposition import transposes
from tiercast.pipeline import compile_plan
from tiercast.session import Session

F32_BOUND = 1e-4
INT8_SHARE = 0.999  # of the outputs must be within one least significant bit


@dataclass(frozen=True)
class Verdict:
    """What became of one net.

    status: "right", "wrong" (`text` tells how) or "refused" (`text` is the compiler's reason).
    error: the largest relative error of any output (f32).
    within_lsb: share of elements at most 1 from the reference; most_lsb: the largest distance (int8).
    transposes: layout copies left in the plan. compile_s: CPU seconds.
    """

    name: str
    kind: str
    status: str
    text: str = ""
    error: float | None = None
    within_lsb: float | None = None
    most_lsb: int | None = None
    steps: int = 0
    transposes: int = 0
    compile_s: float = 0.0
    peak_mb: int = 0


def judge(subject: Subject) -> Verdict:
    """The verdict on one net; what is no TiercastError is our bug and comes out."""
    with tempfile.TemporaryDirectory(prefix="tiercast-zoo-") as name:
        made = subject.make(Path(name))
        began = time.process_time()
        try:
            done = compile_plan(made.source, "host", made.shapes)
        except TiercastError as error:
            return Verdict(subject.name, subject.kind, "refused", str(error))
        seconds = round(time.process_time() - began, 2)
        package = write_package(done.plan, Path(name) / "net.tcpkg")
        arrays = complete_inputs(done.plan, made.inputs, seed=0)
        got = list(Session(package, threads=1).run(arrays).values())
        expected = _expected(made, arrays)
    left = transposes(done.model)
    facts = {
        "steps": len(done.plan.steps),
        "transposes": len(left),
        "compile_s": seconds,
        "peak_mb": _peak_mb(),
    }
    compare = _compare_steps if subject.kind == "int8" else _compare_reals
    status, text, figures = compare(got, expected)
    if subject.channels_last and left:
        status, text = "wrong", f"{text} {len(left)} transposes left: {left[0]}".strip()
    return Verdict(subject.name, subject.kind, status, text, **figures, **facts)  # type: ignore[arg-type]


def _expected(made: Made, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    return made.expected if made.expected is not None else reference(made.source)[1](arrays)


def _compare_reals(got: list[np.ndarray], expected: list[np.ndarray]) -> tuple[str, str, dict[str, float]]:
    if len(got) != len(expected):
        return "wrong", f"{len(got)} outputs, the model has {len(expected)}", {}
    found = [difference(*pair) for pair in zip(got, expected, strict=True)]
    error = max(item.max_rel_error for item in found)
    flat = [index for index, array in enumerate(expected) if len(np.unique(array)) < min(array.size, 4)]
    if flat:  # an output that is the same nearly everywhere proves nothing
        return "wrong", f"output {flat[0]} of the model is flat: its weights say nothing", {"error": error}
    right = all(item.within(F32_BOUND) for item in found)
    return "right" if right else "wrong", "", {"error": error}


def _compare_steps(got: list[np.ndarray], expected: list[np.ndarray]) -> tuple[str, str, dict[str, float]]:
    if [(item.shape, item.dtype) for item in got] != [(item.shape, item.dtype) for item in expected]:
        return "wrong", "outputs of another number, shape or type than the model's", {}
    gaps = [
        np.abs(a.astype(np.int64) - b.astype(np.int64)).ravel() for a, b in zip(got, expected, strict=True)
    ]
    gap = np.concatenate(gaps)
    figures = {"within_lsb": float(np.mean(gap <= 1)), "most_lsb": int(gap.max(initial=0))}
    return "right" if figures["within_lsb"] >= INT8_SHARE else "wrong", "", figures


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
