"""Two results side by side: which figure, what rose, what is on one side only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tiercast.bench.compare import compare_results, read_result
from tiercast.errors import UsageError


def _counts(**costs: int) -> dict[str, Any]:
    return {"kernels": [{"row": row, "case": "c", "instructions": cost} for row, cost in costs.items()]}


def test_what_rose_most_stands_first() -> None:
    found = compare_results(_counts(a=100, b=100, c=100, gone=5), _counts(a=103, b=120, c=50, new=6))
    assert [(change.row, round(change.percent)) for change in found.changes] == [
        ("b", 20),
        ("a", 3),
        ("c", -50),
    ]
    assert found.gone == ("gone: c",) and found.new == ("new: c",) and found.unit == "instructions"


def test_the_limit_itself_is_allowed() -> None:
    found = compare_results(_counts(a=100, b=1000), _counts(a=103, b=1031))
    assert [change.row for change in found.risen(3.0)] == ["b"]


def test_refused_rows_are_left_out() -> None:
    refused = {
        "kernels": [{"row": "a", "case": "c", "instructions": 0, "refused": "why"}, *_counts(b=1)["kernels"]]
    }
    assert [change.row for change in compare_results(refused, refused).changes] == ["b"]


def test_times_are_compared_with_times_only() -> None:
    timed = {"kernels": [{"row": "a", "case": "c", "min_us": 2.0}]}
    assert compare_results(timed, timed).unit == "us"
    with pytest.raises(UsageError, match="times and the other"):
        compare_results(timed, _counts(a=1))


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({"packages": []})])
def test_a_file_that_is_no_result_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"result\.json"):
        read_result(path)
