"""Reading models. One file per format, found by listing this folder; all hand over the same form (`hub`).

A format module has TAKES (what it takes, for errors), `accepts(source)`, `read(source, inputs)`, and for
`verify` REFERENCE (whose arithmetic it is) with `reference(source)` and, where the framework hands out what
lies between inputs and outputs, `intermediates(source)`. A module whose `read` takes keyword options of
`load` names them in OPTIONS.
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
from tiercast.ir.dtypes import NAMES

Reference = Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]


@cache
def formats() -> tuple[ModuleType, ...]:
    """The format modules of this folder: those that define `accepts`."""
    modules = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    return tuple(module for module in modules if hasattr(module, "accepts"))


def load(
    source: Any,
    inputs: Mapping[str, Sequence[int]] | None = None,
    *,
    dtypes: Mapping[str, str] | None = None,
    check_import: bool = True,
) -> ir.Model:
    """Reads a model into the hub form: opset 23, static shapes.

    source: a path (.onnx, .pt2, .pt, .tflite...), an onnx.ModelProto or onnx_ir.Model, an ExportedProgram of
    torch.export, a TorchScript module, a pair (torch module, example inputs), or "module:factory" /
    "file.py:factory" of a function that returns such a pair.
    inputs: name -> shape; fixes named dimensions, and says what TorchScript does not.
    dtypes: name -> "f32", "f16", "s8", "u8", "s32", "s64" or "bool", for inputs whose model holds none
    (TorchScript); f32 by default. For others it must be what the model says.
    check_import: where a framework's exporter did the conversion (PyTorch), compare its result with the
    framework's own on one input, and at a second size of every dynamic dimension.
    Raises UsageError for a source nobody takes and for wrong inputs, ModelError for a model that can't be
    read, or whose conversion is wrong.
    """
    module = _format_of(source)
    options = {"dtypes": dtypes, "check_import": check_import}
    taken = {name: options[name] for name in getattr(module, "OPTIONS", ())}
    model: ir.Model = module.read(source, inputs, **taken)
    _check_dtypes(model, dtypes or {})
    check_constants(model)
    return model


def _check_dtypes(model: ir.Model, dtypes: Mapping[str, str]) -> None:
    ports = {value.name: value for value in model.graph.inputs}
    for name, wanted in dtypes.items():
        if name not in ports:
            raise UsageError(
                f"there is no input {name!r}; the model's inputs are {', '.join(map(str, ports))}"
            )
        kind = ports[name].dtype
        has = NAMES.get(kind, str(kind)) if kind is not None else "unknown"
        if has != wanted:
            raise UsageError(f"input {name!r} is {has} in the model, not {wanted}")


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


def intermediates(source: Any) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]] | None:
    """The source's own values between inputs and outputs as a function of its inputs: by name, in order.

    Names are those that `load` gives the values. None where the format's framework does not hand them out
    (its module has no `intermediates`).
    """
    module = _format_of(source)
    if not hasattr(module, "intermediates"):
        return None
    found: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]] = module.intermediates(source)
    return found


def _format_of(source: Any) -> ModuleType:
    for module in formats():
        if module.accepts(source):
            return module
    taken = "\n".join(f"  {module.TAKES}" for module in formats())
    text = f"{str(source)!r}" if isinstance(source, (str, Path)) else f"a {type(source).__name__}"
    raise UsageError(f"{text} is no model that Tiercast reads; it takes\n{taken}")
