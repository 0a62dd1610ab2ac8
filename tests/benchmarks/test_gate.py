"""The gate fails on what rose, and only on that."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

pytest.importorskip("torch")

from benchmarks.gate import BASELINE, document, verdict, write_baseline
from tiercast.bench.compare import compare_results, read_result
from tiercast.bench.counted import RowCount

ROWS = [RowCount("case", "row", 1000, 500), RowCount("other", "row", 0, 0, refused="why")]


def _says(before: dict[str, object], after: dict[str, object]) -> tuple[bool, str]:
    text = io.StringIO()
    return verdict(compare_results(before, after), Console(file=text, width=200)), text.getvalue()


def test_a_baseline_reads_back_as_it_was_counted(tmp_path: Path) -> None:
    write_baseline(document(ROWS), tmp_path / "base.json")
    assert read_result(tmp_path / "base.json") == document(ROWS)
    assert _says(document(ROWS), document(ROWS))[0]


def test_a_doctored_baseline_fails_and_says_what_to_do() -> None:
    baseline = read_result(BASELINE)
    doctored = json.loads(json.dumps(baseline))
    victim = doctored["kernels"][3]
    victim["instructions"] = int(victim["instructions"] / 1.05)
    passes, text = _says(doctored, baseline)
    assert not passes and victim["row"] in text and "--update" in text


def test_fewer_instructions_and_new_rows_pass() -> None:
    after = document([RowCount("case", "row", 900, 500), RowCount("case", "new", 5, 5)])
    passes, text = _says(document(ROWS), after)
    assert passes and "new: new: case" in text
