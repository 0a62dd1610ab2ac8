"""Choices as real packages: compiled, run and measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from tiercast.pipeline import compile
from tiercast.progress import report_progress
from tiercast.quantize.agreement import Contract, Verified
from tiercast.quantize.costs import measure_packages
from tiercast.quantize.metrics import Run
from tiercast.quantize.ptq import Quantized, quantize_units
from tiercast.quantize.solve import Choice
from tiercast.session import Session


@dataclass
class Bench:
    """Compiles packages into a folder, once each, and runs them here."""

    folder: Path
    target: str
    cpu: str | None
    seconds: float
    ops: Any

    def package(self, model: ir.Model, name: str, target: str | None = None) -> Path:
        """The model's package for the target."""
        path = self.folder / f"{name}.{target or self.target}.tcpkg"
        if not path.exists():
            report_progress(f"compiling {name} for {target or self.target}")
            compile(model, target or self.target, path, ops=self.ops)
        return path

    def run(self, model: ir.Model, name: str) -> Run:
        """The model as a function, by our kernels on this machine: integers are the same on every target."""
        session = Session(self.package(model, name, "host"))

        def call(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            return session.run(inputs)

        return call

    def verify(self, done: Contract, choice: Choice) -> Verified:
        """Compiles and measures a choice; what was measured before is not measured again."""
        for item in done.tried:
            if item.choice.integers == choice.integers:
                return item
        quantized = _quantized(done, choice)
        name = f"choice{len(done.tried)}"
        model = quantized.model
        if not any(choice.integers):
            model = done.calibrated.model
        package = self.package(model, name)
        report_progress(f"verifying choice {len(done.tried) + 1}: {sum(choice.integers)} layers on integers")
        value = done.metric.evaluate(self.run(model, name))
        f32 = self.folder / f"f32.{self.target}.tcpkg"
        costs = measure_packages([f32, package], self.target, self.cpu, self.seconds)
        drop = done.metric.drop(done.f32_value, value, done.terms.max_drop)
        cost = costs[1].total if any(choice.integers) else costs[0].total  # f32 costs what f32 costs
        found = Verified(choice, quantized, value, drop, cost, costs[0].total, package.stat().st_size)
        done.tried.append(found)
        return found


def _quantized(done: Contract, choice: Choice) -> Quantized:
    reasons = dict(done.full.kept)
    names: list[str] = []
    for at, (layer, on) in enumerate(zip(done.layers, choice.integers, strict=True)):
        if on:
            names += layer.names
        else:
            slow = at in done.problem.slower
            reasons |= dict.fromkeys(layer.names, "s8 is slower here" if slow else "the contract")
    return quantize_units(done.calibrated, names, reasons)
