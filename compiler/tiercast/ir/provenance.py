"""How a model was made, kept in its metadata: written by a tool, told by packages as facts."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

_PREFIX = "tiercast."
QUANTIZATION = "quantization"  # how such keys begin that say how integers came about


def note(model: ir.Model, facts: Mapping[str, str]) -> None:
    """Writes facts (say "quantization method": "mse") into the model's metadata, in place of older ones."""
    for key, text in facts.items():
        model.metadata_props[_PREFIX + key] = text


def noted(model: ir.Model) -> dict[str, str]:
    """The facts that `note` wrote."""
    return {
        key.removeprefix(_PREFIX): text
        for key, text in model.metadata_props.items()
        if key.startswith(_PREFIX + QUANTIZATION)
    }
