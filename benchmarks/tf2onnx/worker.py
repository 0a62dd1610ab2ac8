"""Runs the tests of one file of tf2onnx's suite with our engine in place of onnxruntime; prints JSON."""

from __future__ import annotations

import importlib
import json
import os
import sys
import unittest
from pathlib import Path
from typing import Any

OPSET = 18


class Outcomes(unittest.TestResult):
    """Keeps [test, status, reason] of each test; refused models are told apart from wrong results.

    bound: inputs of the running test that had to be constants; a passed test's reason names them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[str, str, str]] = []
        self.bound: set[str] = set()

    def startTest(self, test: unittest.TestCase) -> None:
        self.bound.clear()

    def addSuccess(self, test: unittest.TestCase) -> None:
        self._keep(test, "passed", f"bound: {', '.join(sorted(self.bound))}" if self.bound else "")

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self._keep(test, "skipped", reason)

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        self._keep(test, "wrong", str(err[1]))

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        from tiercast.errors import TiercastError

        status = "refused" if isinstance(err[1], TiercastError) else "broken"
        self._keep(test, status, f"{err[0].__name__}: {err[1]}")

    def _keep(self, test: unittest.TestCase, status: str, reason: str = "") -> None:
        name = test.id().rpartition(".")[2]
        self.rows.append((name, status, " ".join(reason.split())[:300]))
        print(name, status, file=sys.stderr, flush=True)


def main(folder: str, module: str, only: str) -> None:
    """folder: the suite's tests. module: one of them. only: part of the names of the tests to run."""
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "TF_ENABLE_ONEDNN_OPTS": "0"}
    sys.path.insert(0, folder)
    os.chdir(folder)
    base_module = importlib.import_module("backend_test_base")
    base = base_module.Tf2OnnxBackendTestBase
    config = importlib.import_module("common").get_test_config()
    config.opset, config.skip_tflite_tests, config.skip_tfjs_tests = OPSET, True, True
    from benchmarks.tf2onnx.engine import run
    from tiercast.frontend.tf_conversion import HANDLERS

    convert, outcomes = base_module.process_tf_graph, Outcomes()

    def with_our_handlers(*args: Any, **kwargs: Any) -> Any:
        handlers = {name: (handler, []) for name, handler in HANDLERS.items()}
        kwargs.pop("extra_opset", None)  # other vendors' operators, which the front end allows none of either
        return convert(*args, **{"custom_op_handlers": handlers, **kwargs})

    base_module.process_tf_graph = with_our_handlers

    def run_backend(self: Any, g: Any, outputs: Any, input_dict: Any, *rest: Any, **more: Any) -> Any:
        del self, rest, more
        made, bound = run(g.make_model("test"), outputs, input_dict)
        outcomes.bound |= set(bound)
        return made

    base.run_backend = run_backend
    suite = unittest.defaultTestLoader.loadTestsFromName(module)
    chosen = unittest.TestSuite(test for test in _flat(suite) if only in test.id())
    chosen.run(outcomes)
    print(json.dumps(outcomes.rows))


def _flat(suite: unittest.TestSuite) -> list[unittest.TestCase]:
    found: list[unittest.TestCase] = []
    for item in suite:
        found += _flat(item) if isinstance(item, unittest.TestSuite) else [item]
    return found


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main(*sys.argv[1:4])
