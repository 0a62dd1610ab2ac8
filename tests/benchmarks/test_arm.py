"""The comparison on AArch64: what counts, and the emulated Python's own counts."""

from __future__ import annotations

import pytest

from benchmarks.arm.__main__ import MODES, Cell, ratio, table

OURS = Cell(instructions=90.0, macs=300.0, fma_share=0.8)


def test_a_peer_that_answers_wrong_or_fails_does_not_count() -> None:
    f32 = MODES["v8.2-f32"]
    assert ratio(OURS, Cell(instructions=100.0, error=1e-5), f32) == pytest.approx(0.9)
    assert ratio(OURS, Cell(instructions=100.0, error=5e-3), f32) is None
    assert ratio(OURS, Cell(failed="no such operator"), f32) is None
    assert ratio(OURS, Cell(instructions=100.0, error=5e-3), MODES["v8.2-f16"]) == pytest.approx(0.9)


def test_the_table_says_why_a_peer_does_not_count() -> None:
    cells = {
        "tiercast": OURS,
        "ncnn": Cell(instructions=100.0, error=1e-5),
        "mnn": Cell(instructions=50.0, error=0.25),
        "onnxruntime": Cell(failed="no such operator"),
    }
    made = table("v8.2-f32", {"net": cells})
    shown = [next(iter(column.cells)) for column in made.columns]
    assert shown == ["net", "90.0", "80%", "100.0", "0.90", "50.0", "error 2e-01", "0.0", "failed"]
