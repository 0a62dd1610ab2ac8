"""torch.export and PyTorch's ONNX exporter, without their chatter and with errors that name the cause."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import numpy as np
import onnx_ir as ir
import torch

from tiercast.errors import ModelError
from tiercast.frontend.opset import HUB_OPSET
from tiercast.frontend.torch.custom_ops import translations
from tiercast.frontend.torch.rewrite import rewrite_program
from tiercast.ir.edit import new_constant, static_shape
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
    report_progress("PyTorch's exporter writes ONNX")
    try:
        with quiet(), torch.no_grad():
            exported = torch.onnx.export(
                rewrite_program(program),
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
    _widen_indices(model)
    return model


def _widen_indices(model: ir.Model) -> None:
    """ONNX wants the indices of ScatterND and GatherND in 64 bits; the exporter writes 32 (istft)."""
    for node in list(model.graph):
        index = node.inputs[1] if node.op_type in ("ScatterND", "GatherND") else None
        if index is None or index.dtype != ir.DataType.INT32:
            continue
        cast = ir.node("Cast", [index], {"to": int(ir.DataType.INT64)})
        cast.outputs[0].name = f"{node.name or node.outputs[0].name}.indices"
        model.graph.insert_before(node, cast)
        node.replace_input_with(1, cast.outputs[0])


def resize_to_sizes(hub: ir.Model) -> None:
    """Gives every Resize that aligns corners its sizes instead of scales, in place; shapes must be static.

    PyTorch (and onnxruntime) places its samples by the whole number of pixels that come out, ONNX by the
    fraction that a scale makes of them.
    """
    for node in hub.graph:
        mode = node.attributes.get("coordinate_transformation_mode")
        dims = static_shape(node.outputs[0])
        if node.op_type != "Resize" or mode is None or mode.as_string() != "align_corners" or dims is None:
            continue
        if len(node.inputs) == 3:
            axes = node.attributes["axes"].as_ints() if "axes" in node.attributes else range(len(dims))
            sizes = np.array([dims[axis] for axis in axes], np.int64)
            node.resize_inputs(4)
            node.replace_input_with(2, None)
            node.replace_input_with(3, new_constant(hub.graph, f"{node.outputs[0].name}.sizes", sizes))


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
