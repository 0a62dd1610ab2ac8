"""The two sides of one comparison, opened on demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tiercast.calibration import Batch
from tiercast.custom import CustomOps
from tiercast.errors import UsageError
from tiercast.lower.buckets import buckets_text, find_bucket
from tiercast.lower.plan import Plan, Port
from tiercast.package.file import read_plans
from tiercast.parity.cut import standalone
from tiercast.parity.runner import GraphRunner, PlanRunner, Runner, SourceRunner
from tiercast.parity.side import Side
from tiercast.parity.stages import Stages


class Case:
    """What is compared: `pick_bucket` reads packages; models are compiled when first asked for."""

    def __init__(
        self,
        left: Side,
        right: Side,
        target: str | None,
        precision: str | None,
        calibrate: Sequence[Batch] | None,
        shapes: Mapping[str, Sequence[int]] | None,
        dtypes: Mapping[str, str] | None,
        custom: Sequence[CustomOps],
    ) -> None:
        self.left, self.right, self.custom = left, right, custom
        self._buckets: dict[Side, int] = {}
        self._plans: dict[Side, Plan] = {}
        self.target, self.precision = target or "host", precision or "f32"
        self._given = (target, precision, shapes)
        self._calibrate = calibrate
        self._shapes, self._dtypes = shapes or {}, dtypes
        self._stages: Stages | None = None
        self._runners: dict[str, Runner] = {}

    def pick_bucket(self, bucket: int) -> None:
        """Reads the packages; the right one (or else the left one) says where and how models are compiled.

        bucket: of that package; the other's is the one of the same input shapes. UsageError when there
        is none such.
        """
        for side in [side for side in (self.right, self.left) if side.is_package]:
            path = Path(side.source)
            plans = read_plans(path)
            if self._plans:
                bucket = find_bucket(plans, self._shapes, path)
            if not 0 <= bucket < len(plans):
                raise UsageError(f"{path}: there is no bucket {bucket}; its buckets: {buckets_text(plans)}")
            plan = standalone(plans, bucket)
            if not self._plans:
                target, precision, shapes = self._given
                self.target = target or plan.target
                self.precision = precision or plan.facts.get("precision", "f32")
                self._shapes = shapes or {port.name: port.dims for port in plan.inputs}
                self._dtypes = self._dtypes or {port.name: port.dtype for port in plan.inputs}
            self._plans[side], self._buckets[side] = plan, bucket

    @property
    def has_model(self) -> bool:
        """Whether a model is at hand, from which the right side was (or may have been) made."""
        return not self.left.is_package and (self.right.is_package or self.right.source == self.left.source)

    @property
    def stages(self) -> Stages:
        """The compiler's stages of the model that the sides are made from."""
        if self._stages is None:
            model = self.left if not self.left.is_package else self.right
            self._stages = self._stages_of(model.source)
        return self._stages

    def runners(self) -> tuple[Runner, Runner]:
        """Both sides, ready to run."""
        return self._open(self.left), self._open(self.right)

    def ports(self) -> Sequence[Port]:
        """The inputs both sides take."""
        for side in (self.right, self.left):
            runner = self._open(side)
            if isinstance(runner, (PlanRunner, GraphRunner)):
                return runner.ports
        return GraphRunner(self.stages.imported(), "model").ports

    def _open(self, side: Side) -> Runner:
        if str(side) not in self._runners:
            self._runners[str(side)] = self._opened(side)
        return self._runners[str(side)]

    def _opened(self, side: Side) -> Runner:
        if side.is_package:
            plan = self._plans[side]
            place = "host" if side.portable else side.target or plan.target
            file = (Path(side.source), self._buckets[side])
            return PlanRunner(plan, str(side), place, side.cpu, side.portable, file)
        if side.stage is None:
            return SourceRunner(side.source, str(side))
        if self.left.source is side.source or self.left.source == side.source or self.left.is_package:
            return self.stages.runner(side.stage, str(side), side.target, side.cpu)
        return self._stages_of(side.source).runner(side.stage, str(side), side.target, side.cpu)

    def _stages_of(self, source: Any) -> Stages:
        return Stages(
            source, self.target, self._shapes, self.precision, self._calibrate, self._dtypes, self.custom
        )
