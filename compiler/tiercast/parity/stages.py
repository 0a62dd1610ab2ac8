"""A model's graph after any stage of the compiler, runnable."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import onnx_ir as ir

from tiercast.calibration import Batch
from tiercast.custom import CustomOps
from tiercast.errors import TiercastError, UsageError
from tiercast.frontend import load
from tiercast.lower.lowering import lower_graph
from tiercast.parity.runner import GraphRunner, PlanRunner, Runner
from tiercast.parity.side import PACKAGE
from tiercast.passes.assign_layout import assign_layout
from tiercast.pipeline import (
    Compilation,
    compile_plan,
    extras_of,
    integer_facts,
    resolve,
    stage_names,
    write_compilation,
)


class Stages:
    """Compiles one model up to any stage, from one import.

    target, inputs, precision, calibrate, dtypes: as `compile` takes them. Every request compiles anew
    from the
    imported model, so a stage that changes an array in place can't change what an earlier one is seen to do.
    """

    def __init__(
        self,
        source: Any,
        target: str,
        inputs: Mapping[str, Sequence[int]] | None = None,
        precision: str = "f32",
        calibrate: Sequence[Batch] | None = None,
        dtypes: Mapping[str, str] | None = None,
        custom: Sequence[CustomOps] = (),
    ) -> None:
        self.source, self.target, self.precision = source, target, precision
        self._calibrate, self._custom = calibrate, custom
        shapes = {name: tuple(dims) for name, dims in (inputs or {}).items()}
        self._proto = ir.to_proto(load(source, shapes, dtypes=dtypes, check_import=False))

    def imported(self) -> ir.Model:
        """A fresh copy of the imported model."""
        return ir.from_proto(self._proto)

    def _compiled(self, stage: str) -> Compilation:
        return compile_plan(
            self.imported(),
            self.target,
            precision=self.precision,
            calibrate=self._calibrate,
            until=None if stage == PACKAGE else stage,
            ops=(),
        )

    def runner(self, stage: str, label: str, target: str | None = None, cpu: str | None = None) -> Runner:
        """The stage, ready to run: ONNX by onnxruntime, physical graphs lowered to portable kernels.

        "package" is the finished package on `target` (by default the one that is compiled for) and `cpu`.
        UsageError for a physical graph that can't be lowered alone.
        """
        if stage == PACKAGE:
            return self._plan_runner(self._compiled(stage), label, target or self.target, cpu)
        if stage == stage_names()[0]:
            return GraphRunner(self.imported(), label)
        done = self._compiled(stage)
        model = done.model
        if is_onnx_stage(stage):
            if all(node.domain == "" for node in model.graph):
                return GraphRunner(model, label)
            assign_layout(model)  # integer operators, which onnxruntime does not know
        done.target = dataclasses.replace(resolve("host"), has=frozenset())
        try:
            done.plan = lower_graph(model, done.target)
        except TiercastError as error:
            raise UsageError(f"{label}: this stage can't be lowered alone: {error}") from error
        done.plan.facts["precision"] = self.precision if is_rounded(stage, self.precision) else "f32"
        done.plan.facts |= integer_facts(done.reports)
        return self._plan_runner(done, label, "host", portable=True)

    def _plan_runner(
        self, done: Compilation, label: str, target: str, cpu: str | None = None, portable: bool = False
    ) -> PlanRunner:
        done.extras = extras_of(done, self._custom)
        write = None if done.extras is None else partial(write_compilation, done)
        return PlanRunner(done.plan, label, target, cpu, portable, write=write)


def is_onnx_stage(stage: str) -> bool:
    """Whether the graph after a stage is ONNX still; afterwards it holds physical ops."""
    order = stage_names()
    return order.index(stage) < order.index(assign_layout.__name__)


def is_rounded(stage: str, precision: str) -> bool:
    """Whether values are in the asked precision after a stage already."""
    order = stage_names()
    return precision == "f16" and order.index(stage) >= order.index("choose_precision")
