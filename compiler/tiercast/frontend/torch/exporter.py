"""torch.export and PyTorch's ONNX exporter, without their chatter and with errors that name the cause."""

from __future__ import annotations

import copy
import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import onnx_ir as ir
import torch

from tiercast.errors import ModelError
from tiercast.frontend.opset import HUB_OPSET
from tiercast.frontend.torch.custom_ops import translations
from tiercast.progress import report_progress

_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def export_program(
    module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], origin: str
) -> torch.export.ExportedProgram:
    """The module as a graph of ATen operators: its code is run and what it calls is recorded.

    ModelError with PyTorch's reason when that does not work, for branches on data among others.
    """
    report_progress("torch.export records the module")
    try:
        with quiet(), torch.no_grad():
            return torch.export.export(module, args, kwargs, strict=False)
    except Exception as error:
        raise ModelError(f"{origin}: torch.export refuses the module: {cause_of(error)}") from error


def to_onnx(program: torch.export.ExportedProgram, origin: str) -> ir.Model:
    """The program as ONNX of the hub's opset, dynamic dimensions kept; ModelError when PyTorch can't."""
    _refuse_silent_losses(program, origin)
    report_progress("PyTorch's exporter writes ONNX")
    try:
        with quiet(), torch.no_grad():
            exported = torch.onnx.export(
                _without_derived_ranges(program),
                dynamo=True,
                opset_version=HUB_OPSET,
                verbose=False,
                report=False,
                external_data=False,
                output_names=_output_names(program),
                custom_translation_table=translations(torch.ops),
            )
    except Exception as error:
        raise ModelError(f"{origin}: PyTorch can't export the program to ONNX: {cause_of(error)}") from error
    assert exported is not None
    model: ir.Model = exported.model
    return model


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps PyTorch's progress, warnings and log off the terminal; errors still come as exceptions."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def cause_of(error: BaseException) -> str:
    """What went wrong at the bottom of a chain of errors, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = _ESCAPES.sub("", str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    if "TorchScript interpreter" in lines[0]:  # the reason stands below the traceback
        reasons = [line for line in lines if line.startswith("RuntimeError: ")]
        return reasons[-1] if reasons else "an operator fails"
    return lines[0]


def _output_names(program: torch.export.ExportedProgram) -> list[str] | None:
    """The keys of a program that returns a flat dict; None (the exporter names them) for any other result."""
    spec = program.call_spec.out_spec
    if spec is None or spec.type is not dict or not all(child.is_leaf() for child in spec.children()):
        return None
    return [str(key) for key in spec.context]


def _without_derived_ranges(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """PyTorch 2.13 decomposes no program with a dimension like 2 * height, whose range it takes for a
    symbol's."""
    if all(symbol.is_symbol for symbol in program.range_constraints):
        return program
    plain = copy.copy(program)
    plain._range_constraints = {
        symbol: values for symbol, values in program.range_constraints.items() if symbol.is_symbol
    }
    return plain


def _refuse_silent_losses(program: torch.export.ExportedProgram, origin: str) -> None:
    """PyTorch 2.13's exporter drops avg_pool2d's divisor_override silently; an error beats wrong numbers."""
    for node in program.graph.nodes:
        if node.op != "call_function" or "avg_pool" not in str(node.target):
            continue
        override = node.kwargs.get("divisor_override", node.args[6] if len(node.args) > 6 else None)
        if override is not None:
            raise ModelError(
                f"{origin}: node {node.name!r}: PyTorch's ONNX exporter loses divisor_override={override}; "
                "use divisor_override=None and scale the result"
            )
