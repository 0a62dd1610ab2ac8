"""Runs ONNX's node tests through the backend and keeps what became of each."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.runner import Runner

from tests.conformance.backend import TiercastBackend, bind, input_names
from tests.conformance.scope import bound_inputs, exclusion, operator, out_of_scope
from tiercast.errors import TiercastError

REQUIRED_SHARE = 0.95


@dataclass(frozen=True)
class Outcome:
    """status: "passed", "failed" or "excluded" within the scope, "extra" for a passing one beyond it."""

    test: str
    op: str
    status: str
    reason: str = ""


@dataclass(frozen=True)
class Report:
    """All outcomes, and how many other tests each rule of the scope leaves out."""

    outcomes: tuple[Outcome, ...]
    left_out: dict[str, int]

    def count(self, status: str, op: str | None = None) -> int:
        """Number of outcomes of a status, of one operator or of all."""
        return sum(item.status == status and op in (None, item.op) for item in self.outcomes)

    @property
    def share(self) -> float:
        """Passed tests among those within the scope that no written exclusion covers."""
        return self.count("passed") / max(self.count("passed") + self.count("failed"), 1)

    @property
    def strict_share(self) -> float:
        """Passed tests among all within the scope, excluded ones counted as failed."""
        return self.count("passed") / max(
            sum(self.count(status) for status in ("passed", "failed", "excluded")), 1
        )

    @property
    def ops(self) -> list[str]:
        """Operators with at least one test within the scope."""
        return sorted({item.op for item in self.outcomes if item.status != "extra"})

    def as_json(self) -> dict[str, Any]:
        """The report as plain data."""
        totals = {status: self.count(status) for status in ("passed", "failed", "excluded", "extra")}
        return {
            "onnx": onnx.__version__,
            "share": self.share,
            "strict_share": self.strict_share,
            **totals,
            "left_out": self.left_out,
            "outcomes": [asdict(item) for item in self.outcomes],
        }


@cache
def node_tests() -> dict[str, TestCase]:
    """ONNX's node tests by name."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, about the infinities that the cases are about
        return {case.name: case for case in collect_testcases(None)}


def run_suite(only: str = "") -> Iterator[Outcome | str]:
    """The outcome of each test whose name contains `only`, or the rule that left it out.

    An expanded test counts for the operator that it expands.
    """
    for name, case in node_tests().items():
        if only not in name:
            continue
        base = node_tests().get(name.partition("_expanded")[0], case)
        op = operator(base.model)
        rule = out_of_scope(op, base.model)
        if op is None or (rule is not None and "operator" in rule):
            yield str(rule)
            continue
        excluded = exclusion(op, base.model) if rule is None else None
        reason = failure(case, bound_inputs(base.model))
        if rule is not None:
            yield Outcome(name, op, "extra") if reason is None else rule
        elif reason is None:
            yield Outcome(name, op, "passed")
        elif excluded is not None:
            yield Outcome(name, op, "excluded", excluded)
        else:
            yield Outcome(name, op, "failed", reason)


def collect(results: Iterator[Outcome | str]) -> Report:
    """A report of what `run_suite` yields."""
    outcomes: list[Outcome] = []
    left_out: Counter[str] = Counter()
    for result in results:
        if isinstance(result, Outcome):
            outcomes.append(result)
        else:
            left_out[result] += 1
    return Report(tuple(outcomes), dict(sorted(left_out.items())))


def failure(case: TestCase, constant_names: set[str]) -> str | None:
    """None when the test passes by ONNX's own comparison, else the compiler's refusal or what differs."""
    assert case.model is not None and case.data_sets is not None
    try:
        for inputs, wanted in case.data_sets:
            arrays = dict(zip(input_names(case.model), [_array(item) for item in inputs], strict=True))
            constants = {name: array for name, array in arrays.items() if name in constant_names}
            given = [array for name, array in arrays.items() if name not in constants]
            results = TiercastBackend.prepare(bind(case.model, constants)).run(given)
            Runner.assert_similar_outputs([_array(item) for item in wanted], results, case.rtol, case.atol)
    except TiercastError as error:
        return f"refused: {_short(str(error))}"
    except AssertionError as error:
        return f"wrong result: {_short(str(error))}"
    except Exception as error:  # a bug of ours, but one test's bug must not hide the others' outcomes
        return f"crashed: {type(error).__name__}: {_short(str(error))}"
    return None


def _array(item: Any) -> np.ndarray:
    return numpy_helper.to_array(item) if isinstance(item, TensorProto) else np.asarray(item)


def _short(text: str) -> str:
    line = " ".join(part.strip() for part in text.splitlines() if part.strip())
    return re.sub(r"/\S*/tiercast-conformance-\w+/", "", line)[:240]
