"""Runs ONNX's backend tests through the compiler and keeps what became of each."""

from __future__ import annotations

import multiprocessing
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx
from onnx.backend.test.runner import Runner

from tests.conformance.backend import TiercastBackend, bind, input_names
from tests.conformance.cases import Case, load
from tests.conformance.scope import bound_inputs, in_scope, refusal_class
from tiercast.errors import TiercastError

REQUIRED_SHARE = 0.75  # of all tests: what onnxruntime passes of them
REQUIRED_IN_SCOPE = 0.98


@dataclass(frozen=True)
class Outcome:
    """status: "passed", "refused" (by a clear error, `reason`, of class `group`) or "failed"."""

    test: str
    kind: str
    in_scope: bool
    status: str
    reason: str = ""
    group: str = ""


@dataclass(frozen=True)
class Report:
    """All outcomes."""

    outcomes: tuple[Outcome, ...]

    def count(self, status: str, kind: str | None = None, in_scope: bool = False) -> int:
        """Number of outcomes of a status, of one kind or all, of all or of those within the scope."""
        return sum(
            item.status == status and kind in (None, item.kind) and (item.in_scope or not in_scope)
            for item in self.outcomes
        )

    def share(self, in_scope: bool = False) -> float:
        """Passed tests among all, or among those within the scope; refused ones count as not passed."""
        every = [item for item in self.outcomes if item.in_scope or not in_scope]
        return self.count("passed", in_scope=in_scope) / max(len(every), 1)

    def as_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "onnx": onnx.__version__,
            "share": self.share(),
            "share_in_scope": self.share(in_scope=True),
            "outcomes": [asdict(item) for item in self.outcomes],
        }


def run_suite(tests: Sequence[str], processes: int = 2) -> Iterator[Outcome]:
    """The outcome of each test, in the order given."""
    with multiprocessing.get_context("fork").Pool(processes, _quiet) as pool:
        yield from pool.imap(run_case, tests, chunksize=4)


def run_case(name: str) -> Outcome:
    """What becomes of one test."""
    case = load(name)
    scoped = case.kind == "node" and in_scope(name, case.model)
    status, reason = _outcome(case)
    group = refusal_class(case.base) if status == "refused" else ""
    return Outcome(name, case.kind, scoped, status, reason, group)


def _outcome(case: Case) -> tuple[str, str]:
    """Status and reason, by ONNX's own comparison."""
    bound = bound_inputs(case.base)
    try:
        for inputs, wanted in case.data:
            arrays = dict(zip(input_names(case.model), inputs, strict=False))
            constants = {name: array for name, array in arrays.items() if name in bound}
            package = TiercastBackend.prepare(bind(case.model, constants))
            results = package.run([np.asarray(item) for name, item in arrays.items() if name not in bound])
            Runner.assert_similar_outputs(wanted, results, case.rtol, case.atol)
    except TiercastError as error:
        return "refused", _short(str(error))
    except AssertionError as error:
        return "failed", f"wrong result: {_short(str(error))}"
    except Exception as error:  # a bug of ours, but one test's bug must not hide the others' outcomes
        return "failed", f"crashed: {type(error).__name__}: {_short(str(error))}"
    return "passed", ""


def _short(text: str) -> str:
    line = " ".join(part.strip() for part in text.splitlines() if part.strip())
    return re.sub(r"/\S*/tiercast-conformance-\w+/", "", line)[:200]


def _quiet() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # onnxsim's warnings, thousands of lines
