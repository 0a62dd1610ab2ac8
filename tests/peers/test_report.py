"""The report holds every figure and every failure's reason."""

from __future__ import annotations

import json

from tests.peers.cells import document, ran
from tiercast.peers import report
from tiercast.peers.drive import Cell


def test_the_page_has_bars_for_every_figure_and_the_failures() -> None:
    cells = {"tiercast": ran(3.0), "ncnn": Cell(failed="extracting <out0> returned -1"), "mnn": ran(2.0)}
    facts = json.loads(json.dumps(document({1: {"gesture_gru": cells}, 2: {"gesture_gru": cells}})))
    page = report.page(facts)
    assert "extracting &lt;out0&gt; returned -1" in page
    for heading in ("1 thread, ms", "2 threads, ms", "wall ms", "CPU ms", "Peak memory", "Model files"):
        assert heading in page
    assert page.count('class="bar ours') == 2 + 4  # times twice, then four other figures
    assert all(table.row_count for table in report.tables(facts))


def test_the_verdict_tells_mean_counts_threads_and_the_machine() -> None:
    one = {"tiercast": ran(3.0), "mnn": ran(2.0)}
    two = {"tiercast": ran(1.5), "mnn": ran(2.0)}
    first, second, threads, machine = report.verdict(document({1: {"a": one}, 2: {"a": two}}))
    assert "1.500" in first and "1 of 1 models" in first and "1 slower" in first and "0.750" in second
    assert "tiercast 2.00" in threads and "25 %" in machine and "load 0.1" in machine


def test_the_verdict_without_peers_says_so() -> None:
    assert "no model was run" in report.verdict(document({1: {"a": {"tiercast": ran(3.0)}}}))[0]


def test_progress_names_the_fastest_first() -> None:
    rows = document({1: {"a": {"tiercast": ran(3.0), "mnn": ran(2.0), "ncnn": Cell(failed="x")}}})
    text = report.line("a", {1: rows["sections"][0]["models"]["a"]})
    assert text.index("mnn") < text.index("tiercast") and "failed: ncnn" in text


def test_an_int8_comparison_tells_noise_and_bound() -> None:
    ours, noisy = ran(1.0), ran(0.5)
    ours.bound_db = noisy.bound_db = 20.0
    noisy.sqnr_db = 12.25
    facts = document({1: {"a": {"tiercast": ours, "litert": noisy}}}) | {"precision": "int8"}
    page = report.page(facts)
    assert "12.2 dB)" in page and "signal-to-noise ratio" in page and "relative error against" not in page
    times, _, noise, *_ = report.tables(facts)
    assert "int8" in str(times.title) and list(times.columns[2].cells) == ["0.500 wrong"]
    assert list(noise.columns[-1].cells) == ["20.0"]
