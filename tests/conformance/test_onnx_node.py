"""ONNX's own backend tests: what docs/conformance.md says passes does. Every twelfth runs here, all of them,
the light models too, in `make conformance`."""

from __future__ import annotations

import re

import pytest

from tests.conformance.cases import names
from tests.conformance.report import PAGE
from tests.conformance.scope import OPERATORS
from tests.conformance.suite import run_case

pytestmark = pytest.mark.native

_STEP = 12


def listed() -> set[str]:
    """The tests that the page lists as refused or failed."""
    return set(re.findall(r"^- `(test_\w+)`", PAGE.read_text(), re.MULTILINE))


def test_the_page_counts_every_test() -> None:
    assert len(names()) == 2033
    assert listed() <= set(names())
    assert len(OPERATORS) >= 109


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_what_the_page_says_passes_does(part: int) -> None:
    known = listed()
    sample = [name for name, kind in names().items() if kind != "real"][part * _STEP :: _STEP * 4]
    outcomes = [run_case(name) for name in sample]
    broken = [item for item in outcomes if item.status != "passed" and item.test not in known]
    assert not broken, "\n".join(f"{item.test}: {item.reason}" for item in broken)
