"""ONNX's own node tests: enough of them pass, and the ones that do not are told."""

from __future__ import annotations

import pytest

from tests.conformance.suite import REQUIRED_SHARE, collect, run_suite

pytestmark = pytest.mark.native


@pytest.mark.slow
def test_enough_of_the_suite_passes() -> None:
    report = collect(run_suite())
    failed = "\n".join(f"{item.test}: {item.reason}" for item in report.outcomes if item.status == "failed")
    assert report.count("passed") > 300, "the scope has shrunk"
    assert report.share >= REQUIRED_SHARE, f"{report.share:.1%} pass\n{failed}"
