"""Reading models. One file per format, found by listing this folder; all hand over the same form (`hub`).

A format module has TAKES (what it takes, for errors), `accepts(source)`, `read(source, inputs)`, and for
`verify` REFERENCE (whose arithmetic it is) with `reference(source)`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx_ir as ir

from tiercast.errors import UsageError
from tiercast.frontend.finite import check_constants

Reference = Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]


@cache
def formats() -> tuple[ModuleType, ...]:
    """The format modules of this folder: those that define `accepts`."""
    modules = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    return tuple(module for module in modules if hasattr(module, "accepts"))


def load(source: Any, inputs: Mapping[str, Sequence[int]] | None = None) -> ir.Model:
    """Reads a model into the hub form: opset 23, static shapes.

    source: a path (.onnx, .pt2, .tflite...), an onnx.ModelProto or onnx_ir.Model, an ExportedProgram of
    torch.export, a pair (torch module, example inputs), or "module:factory" / "file.py:factory" of a function
    that returns such a pair.
    inputs: name -> shape; fixes named dimensions.
    Raises UsageError for a source nobody takes and for wrong inputs, ModelError for a model that can't be
    read.
    """
    model: ir.Model = _format_of(source).read(source, inputs)
    check_constants(model)
    return model


def reference(source: Any) -> tuple[str, Reference]:
    """Whose arithmetic judges a package of `source` (say "PyTorch eager"), and the source itself as a
    function.

    The function takes arrays by input name, in the order of the model's inputs, and returns its outputs in
    order.
    Raises UsageError for a source nobody takes, ModelError for one that can't be run.
    """
    module = _format_of(source)
    run: Reference = module.reference(source)
    return str(module.REFERENCE), run


def _format_of(source: Any) -> ModuleType:
    for module in formats():
        if module.accepts(source):
            return module
    taken = "\n".join(f"  {module.TAKES}" for module in formats())
    text = f"{str(source)!r}" if isinstance(source, (str, Path)) else f"a {type(source).__name__}"
    raise UsageError(f"{text} is no model that Tiercast reads; it takes\n{taken}")
