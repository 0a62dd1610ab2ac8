"""Faults put into the compiler on purpose: a pass that spoils a weight, a lowering that packs one wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tiercast import pipeline
from tiercast.ir.edit import new_constant
from tiercast.ir.report import PassReport
from tiercast.lower.calls import GraphLowering


def spoil_after(monkeypatch: pytest.MonkeyPatch, stage: str, weight_shape: tuple[int, ...]) -> str:
    """Adds a pass after `stage` that changes one element of the weights of that shape; returns its name."""

    def spoil_weight(model: ir.Model) -> PassReport:
        for node in list(model.graph):
            for index, value in enumerate(node.inputs):
                if (
                    value is not None
                    and value.const_value is not None
                    and value.shape == ir.Shape(weight_shape)
                ):
                    data = value.const_value.numpy().copy()
                    data.reshape(-1)[0] += 0.5
                    node.replace_input_with(index, new_constant(model.graph, f"{value.name}.spoiled", data))
        return PassReport("spoil_weight")

    at = [item.name for item in pipeline.STAGES].index(stage) + 1
    spec = pipeline.STAGES[at - 1].spec
    stages = (*pipeline.STAGES[:at], pipeline.Stage(spoil_weight, spec), *pipeline.STAGES[at:])
    monkeypatch.setattr(pipeline, "STAGES", stages)
    return "spoil_weight"


def pack_wrong(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Lets every row but the portable ones get a wrong weight at the step whose name begins so."""
    right = GraphLowering._as_it_is

    def stored(self: Any, array: np.ndarray, label: str) -> Any:
        if self._decisions.target.has and (self._node.name or "").startswith(step) and label == "weight":
            array = array.copy()
            array.reshape(-1)[0] += 0.5
        return right(self, array, label)

    monkeypatch.setattr(GraphLowering, "_as_it_is", stored)
