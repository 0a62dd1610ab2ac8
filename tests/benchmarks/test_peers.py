"""The comparison is fair in its arithmetic: who counts, who is best, how failures show."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict

import numpy as np
import pytest

pytest.importorskip("torch")

from benchmarks.models.export_onnx import REPOSITORY
from benchmarks.models.reference import max_relative_error, write_reference
from benchmarks.peers import report
from benchmarks.peers.convert import ensure, interpreter
from benchmarks.peers.drive import Cell, Effort, measure
from benchmarks.peers.score import geometric_mean_ratio, score


def _ran(ms: float, error: float = 1e-6) -> Cell:
    return Cell(
        error=error, ms=ms, typical_ms=ms, load_ms=1.0, first_ms=2.0, peak_growth_mb=3.0, file_bytes=4096
    )


def test_relative_error_is_of_the_largest_expected_value() -> None:
    expected = np.array([0.0, 2.0], np.float32)
    assert max_relative_error(np.array([0.1, 2.0], np.float32), expected) == pytest.approx(0.05)
    assert max_relative_error(np.array([np.nan, 2.0], np.float32), expected) == float("inf")
    assert max_relative_error(np.array([0.0], np.float32), expected) == float("inf")


def test_a_wrong_peer_is_not_the_best() -> None:
    cells = {
        "tiercast": _ran(3.0),
        "mnn": _ran(1.0, error=2e-3),
        "ncnn": _ran(2.0),
        "litert": Cell(failed="no"),
    }
    assert score(cells) == {"best_peer": "ncnn", "best_ms": 2.0, "ratio": 1.5}


def test_a_wrong_answer_of_ours_has_no_ratio() -> None:
    assert score({"tiercast": _ran(1.0, error=0.1), "ncnn": _ran(2.0)})["ratio"] is None


def test_geometric_mean_counts_only_models_with_a_ratio() -> None:
    rows = {"a": {"ratio": 4.0}, "b": {"ratio": 1.0}, "c": {"ratio": None}}
    assert geometric_mean_ratio(rows) == (pytest.approx(2.0), 2)
    assert geometric_mean_ratio({"c": {"ratio": None}}) == (None, 0)


def test_report_shows_failures_with_their_reason() -> None:
    cells = {"tiercast": _ran(3.0), "ncnn": Cell(failed="extracting <out0> returned -1"), "mnn": _ran(2.0)}
    row = {"mmacs": 37.0, "engines": {name: asdict(cell) for name, cell in cells.items()}, **score(cells)}
    document = {
        "machine": {"cpu": "c", "cores": 2, "load": 0.1, "date": "d", "pins": ["ncnn==1"]},
        "threads": 1,
        "effort": asdict(Effort()),
        "models": {"gesture_gru": row},
        "geometric_mean_ratio": 1.5,
        "models_counted": 1,
    }
    page = report.page(json.loads(json.dumps(document)))
    assert "extracting &lt;out0&gt; returned -1" in page and "1.50x over 1 of 1" in page
    assert all(table.row_count for table in report.tables(document))


@pytest.mark.peer
def test_a_peer_is_converted_checked_and_timed() -> None:
    try:
        interpreter("onnxruntime")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    write_reference("gesture_gru")
    done = ensure("gesture_gru", "onnxruntime")
    cell = measure("gesture_gru", {"onnxruntime": done}, 1, Effort(rounds=1, visit_s=0.01, min_calls=2))[
        "onnxruntime"
    ]
    assert (
        not cell.failed
        and cell.error is not None
        and cell.error < 1e-4
        and cell.ms is not None
        and cell.ms > 0
    )


@pytest.mark.peer
def test_an_unknown_engine_is_an_error_line_not_a_hang() -> None:
    try:
        python = interpreter("onnxruntime")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    command = [python, "-m", "benchmarks.peers.worker", "litert", "no_such_model", "1", "0"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert "failed" in json.loads(done.stdout)
