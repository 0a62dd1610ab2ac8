"""The operators that are translated: each module of this folder adds its own with `translates`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import tflite

from tiercast.errors import ModelError
from tiercast.frontend.tflite_ops.file import Operator, defaults
from tiercast.frontend.tflite_ops.scope import Scope

Handler = Callable[[Scope, Operator], None]


@dataclass(frozen=True)
class Translation:
    """One operator's function, and how many inputs must be there."""

    run: Handler
    inputs: int

    def check(self, op: Operator) -> None:
        """Raises ModelError when the operator lacks inputs or an output."""
        if len(op.inputs) < self.inputs or min(op.inputs[: self.inputs], default=0) < 0:
            raise ModelError(f"it has inputs {list(op.inputs)}; {self.inputs} are needed")
        if not op.outputs or min(op.outputs) < 0:
            raise ModelError(f"it has outputs {list(op.outputs)}")


_HANDLERS: dict[str, Translation] = {}


def translates(*kinds: str, inputs: int = 1) -> Callable[[Handler], Handler]:
    """Registers a function for builtin operators by name, or for custom ones as "CUSTOM 'name'".

    inputs: how many they must have at least; further ones may be absent.
    """

    def register(handler: Handler) -> Handler:
        for kind in kinds:
            _HANDLERS[kind] = Translation(handler, inputs)
        return handler

    return register


@cache
def handlers() -> Mapping[str, Translation]:
    """Every translated operator by name."""
    package = importlib.import_module("tiercast.frontend.tflite_ops")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return _HANDLERS


def options(op: Operator, kind: str) -> Mapping[str, Any]:
    """The operator's options, which must be of table `kind`; the schema's defaults where there are none."""
    if op.options_kind == "NONE":
        return defaults(kind)
    if op.options_kind != kind:
        raise ModelError(f"its options are {op.options_kind}, not {kind}: the file is damaged")
    return op.options


def activation(chosen: Mapping[str, Any]) -> str:
    """The name of the fused activation in an options table."""
    return enum_name(tflite.ActivationFunctionType, chosen["FusedActivationFunction"])


def enum_name(enum: type[Any], number: int) -> str:
    """An enum's member by number; ModelError for a number that it lacks."""
    for name, value in vars(enum).items():
        if isinstance(value, int) and value == number:
            return str(name)
    raise ModelError(f"{enum.__name__} has no value {number}: the file is damaged")
