"""The comparison is fair in its arithmetic: who counts, who is best, in time, start, memory and threads."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from tests.peers.cells import ran
from tiercast.peers.drive import Cell
from tiercast.peers.score import efficiency, score, summary
from tiercast.peers.subject import max_relative_error, signal_to_noise_db


def test_relative_error_is_of_the_largest_expected_value() -> None:
    expected = np.array([0.0, 2.0], np.float32)
    assert max_relative_error(np.array([0.1, 2.0], np.float32), expected) == pytest.approx(0.05)
    assert max_relative_error(np.array([np.nan, 2.0], np.float32), expected) == float("inf")
    assert max_relative_error(np.array([0.0], np.float32), expected) == float("inf")


def test_a_wrong_peer_is_best_in_nothing() -> None:
    cells = {
        "tiercast": ran(3.0, memory_mb=8.0, start_ms=5.0),
        "mnn": ran(1.0, error=2e-3, memory_mb=1.0, start_ms=1.0),
        "ncnn": ran(2.0, memory_mb=4.0, start_ms=20.0),
        "openvino": ran(2.5, memory_mb=40.0, start_ms=10.0),
        "litert": Cell(failed="no"),
    }
    assert score(cells) == {
        "best_peer": "ncnn", "best_ms": 2.0, "ratio": 1.5, "quickest_start": "openvino", "start_ratio": 0.5,
        "leanest_peer": "ncnn", "memory_ratio": 2.0,
    }  # fmt: skip


def test_a_wrong_answer_of_ours_has_no_ratio() -> None:
    assert score({"tiercast": ran(1.0, error=0.1), "ncnn": ran(2.0)})["ratio"] is None


def test_without_peers_there_is_no_ratio() -> None:
    assert score({"tiercast": ran(1.0)})["best_peer"] is None


def _row(**cells: Cell) -> dict[str, Any]:
    return {"engines": {name: asdict(cell) for name, cell in cells.items()}, **score(cells)}


def test_the_summary_counts_only_models_with_a_ratio() -> None:
    rows = {
        "a": _row(tiercast=ran(4.0, memory_mb=2.0, start_ms=4.0), ncnn=ran(1.0, start_ms=10.0), mnn=ran(2.0)),
        "b": _row(tiercast=ran(1.0, memory_mb=5.0, start_ms=9.0), ncnn=ran(1.0, start_ms=10.0)),
        "c": _row(tiercast=Cell(failed="no"), ncnn=ran(1.0)),
    }
    found = summary(rows)
    assert found["geometric_mean_ratio"] == pytest.approx(2.0) and found["worst_ratio"] == 4.0
    assert (found["models_counted"], found["models"], found["slower_than_best"]) == (2, 3, 1)
    assert (found["leanest_or_leaner"], found["memory_counted"], found["start_at_most_half"]) == (1, 2, 1)
    assert found["against"] == {"ncnn": pytest.approx(2.0), "mnn": pytest.approx(2.0)}


def test_the_summary_of_nothing_has_no_mean() -> None:
    found = summary({"c": _row(tiercast=Cell(failed="no"), ncnn=ran(1.0))})
    assert found["geometric_mean_ratio"] is None and found["models_counted"] == 0


def test_efficiency_is_wall_over_wall_of_those_that_count_twice() -> None:
    one = {"tiercast": ran(4.0), "ncnn": ran(3.0), "mnn": ran(2.0)}
    two = {"tiercast": ran(2.0), "ncnn": ran(3.0, error=1.0), "mnn": Cell(failed="no")}
    assert efficiency(one, two) == {"tiercast": 2.0}


def test_the_signal_to_noise_ratio_is_of_powers() -> None:
    expected = np.array([3.0, 4.0], np.float32)
    assert signal_to_noise_db(np.array([3.0, 4.5], np.float32), expected) == pytest.approx(20.0)
    assert signal_to_noise_db(expected, expected) == float("inf")
    assert signal_to_noise_db(np.array([np.nan, 4.0], np.float32), expected) == -float("inf")
    assert signal_to_noise_db(np.array([3.0], np.float32), expected) == -float("inf")


def test_an_int8_engine_counts_by_its_noise_alone() -> None:
    ours, exact = ran(1.0, error=0.1), ran(1.25, error=0.1)
    noisy = ran(0.5, error=1e-4)
    ours.bound_db = exact.bound_db = noisy.bound_db = 20.0
    ours.sqnr_db, exact.sqnr_db, noisy.sqnr_db = 20.0, 40.0, 19.9
    found = score({"tiercast": ours, "openvino": exact, "litert": noisy})
    assert (found["best_peer"], found["ratio"]) == ("openvino", 0.8)
