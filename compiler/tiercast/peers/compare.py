"""The comparison: any models, any of the engines, one or more thread counts, in one interleaved run."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from tiercast.errors import UsageError
from tiercast.frontend import load, reference
from tiercast.inputs import random_inputs, read_archive
from tiercast.package.file import read_package
from tiercast.peers.convert import ensure
from tiercast.peers.drive import Cell, Effort, measure
from tiercast.peers.engines import NAMES, OURS
from tiercast.peers.environment import Environment, how_to_install, pins
from tiercast.peers.machine import Neighbours, machine_facts
from tiercast.peers.score import efficiency, geometric_mean, score, summary
from tiercast.peers.subject import Subject, write_reference
from tiercast.pipeline import compile

Say = Callable[[str], None]


def pick_engines(names: Sequence[str], environment: Environment) -> tuple[list[str], str]:
    """Those of `names` that are there, and a sentence about those that are not (empty when none is missing).

    UsageError for an unknown name, or when no peer is there.
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise UsageError(f"engine {unknown[0]!r} is unknown; engines: {', '.join(NAMES)}")
    there = environment.importable(names)
    missing = [name for name in names if name not in there]
    sentence = f"not installed: {', '.join(missing)}; {how_to_install(missing)}" if missing else ""
    if not [name for name in there if name != OURS] and missing:
        raise UsageError(f"no other engine can be imported: {sentence}")
    return there, sentence


@contextmanager
def subject_of(
    model: str, shapes: Mapping[str, Sequence[int]] | None, inputs: Path | None
) -> Iterator[Subject]:
    """A model that the user names, made ready in a temporary folder while the context is open.

    inputs: an .npz with an array for each input; random arrays without. The reference is what `verify`
    takes: eager PyTorch, or onnxruntime without optimisations.
    Raises what `compile` raises, UsageError for inputs that do not fit.
    """
    with tempfile.TemporaryDirectory(prefix="tiercast-peers-") as made:
        where = Path(made).resolve()
        hub = load(model, shapes)
        names = [str(value.name) for value in hub.graph.outputs]
        onnx = Path(model).resolve()
        if onnx.suffix != ".onnx" or shapes:
            onnx = where / "model.onnx"
            ir.save(hub, onnx)
        plan = read_package(compile(onnx, target="host", output=where / "facts.tcpkg"))
        arrays = _read_inputs(inputs, plan.inputs) if inputs else random_inputs(plan.inputs)
        expected = dict(zip(names, map(np.asarray, reference(model)[1](arrays)), strict=True))
        source = "" if Path(model).suffix == ".onnx" else _absolute(model)
        subject = Subject(Path(model).stem, where, onnx, source, sum(step.macs for step in plan.steps))
        subject.write_facts()
        write_reference(where, arrays, expected, key="")
        yield subject


def compare(
    subjects: Sequence[Subject],
    names: Sequence[str],
    threads: Sequence[int],
    effort: Effort,
    environment: Environment,
    say: Say = lambda _: None,
    done: Callable[[str, Mapping[int, Any]], None] = lambda *_: None,
) -> dict[str, Any]:
    """Converts what is stale (one at a time), then measures model by model; returns the JSON document.

    say: told what is being done. done: told each model's rows by thread count when they are there.
    """
    begun, neighbours = machine_facts(), Neighbours()
    sections: dict[int, dict[str, Any]] = {count: {} for count in threads}
    efficiencies: dict[str, dict[str, float]] = {}
    peaks: list[float] = []
    for subject in subjects:
        conversions = {}
        for name in names:
            say(f"{subject.name}: converting for {name}")
            conversions[name] = ensure(subject, name, environment)
        say(f"{subject.name}: measuring")
        measured = measure(subject, conversions, threads, effort, environment)
        peaks += measured.peaks
        for count, cells in measured.cells.items():
            sections[count][subject.name] = _row(subject, cells, max(measured.peaks), count)
        if 1 in threads and max(threads) > 1:
            efficiencies[subject.name] = efficiency(measured.cells[1], measured.cells[max(threads)])
        done(subject.name, {count: sections[count][subject.name] for count in threads})
    return {
        "precision": "+".join(sorted({subject.precision for subject in subjects})),
        "machine": begun | neighbours.facts() | {"pins": pins(), "peak_gflops": max(peaks)},
        "effort": asdict(effort),
        "sections": [
            {"threads": count, "models": rows, "summary": summary(rows)} for count, rows in sections.items()
        ],
        "efficiency": {"threads": max(threads), "models": efficiencies, "means": _means(efficiencies, names)},
    }  # fmt: skip


def write_json(document: Mapping[str, Any], path: Path) -> None:
    """The document as a file; missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1))


def _row(subject: Subject, cells: Mapping[str, Cell], peak_gflops: float, threads: int) -> dict[str, Any]:
    limit_ms = 2 * subject.macs / (peak_gflops * threads * 1e6)
    return {
        "mmacs": subject.macs / 1e6,
        "peak_gflops": peak_gflops,
        "engines": {name: asdict(cell) for name, cell in cells.items()},
        "percent_of_peak": {name: 100 * limit_ms / cell.ms for name, cell in cells.items() if cell.ms},
        **score(cells),
    }


def _means(efficiencies: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> dict[str, float]:
    means = {
        name: geometric_mean(row[name] for row in efficiencies.values() if name in row) for name in names
    }
    return {name: mean for name, mean in means.items() if mean is not None}


def _read_inputs(path: Path, ports: Sequence[Any]) -> dict[str, np.ndarray]:
    arrays = read_archive(path)
    missing = [port.name for port in ports if port.name not in arrays]
    if missing:
        raise UsageError(f"{path} has no array {missing[0]!r}; it holds {', '.join(arrays) or 'nothing'}")
    return {port.name: arrays[port.name] for port in ports}


def _absolute(source: str) -> str:
    place, colon, name = source.rpartition(":")
    if colon and place.endswith(".py"):
        return f"{Path(place).resolve()}:{name}"
    return source if colon else str(Path(source).resolve())
