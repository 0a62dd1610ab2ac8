"""PyTorch: exported programs, .pt2 files and factories, through PyTorch's own ONNX exporter.

The only file of the compiler that imports torch, and only when a PyTorch source is read.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from tiercast.errors import ModelError, UsageError
from tiercast.factory import find_factory
from tiercast.frontend.hub import to_hub
from tiercast.frontend.opset import HUB_OPSET

if TYPE_CHECKING:
    import torch

REFERENCE = "PyTorch eager"
TAKES = (
    "a .pt2 file, a torch.export.ExportedProgram, a pair (torch module, example inputs), or "
    '"module:factory" / "file.py:factory" of a function that returns such a pair'
)


def accepts(source: object) -> bool:
    """Whether this format reads `source`; does not import torch."""
    if isinstance(source, (str, Path)):
        name = str(source)
        return Path(name).suffix in (".pt2", ".pt", ".pth") or (":" in name and not Path(name).exists())
    if isinstance(source, tuple) and len(source) == 2:
        return _is_torch(source[0], "Module")
    return _is_torch(source, "ExportedProgram")


def read(source: Any, inputs: Mapping[str, Sequence[int]] | None) -> ir.Model:
    """The model in hub form; input names are the forward's parameter names (or the example dict's keys).

    Raises UsageError for a factory that can't be found or returns something else, ModelError for a program
    that PyTorch can't export.
    """
    if isinstance(source, (str, Path)):
        origin = f"torch:{Path(str(source)).name}"
        source = _open(str(source), origin)
    else:
        module = source[0] if isinstance(source, tuple) else source
        origin = f"torch:{type(module).__name__}"
    program = _export(source[0], source[1], origin) if isinstance(source, tuple) else source
    _refuse_silent_losses(program, origin)
    return to_hub(_to_onnx(program, origin), inputs, origin)


def reference(source: Any) -> Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]:
    """The program in eager PyTorch on the CPU; inputs of a mapping or keywords go by name, else by order."""
    import torch
    from torch.utils import _pytree

    if isinstance(source, (str, Path)):
        source = _open(str(source), f"torch:{Path(str(source)).name}")
    if isinstance(source, tuple):
        module, (args, kwargs) = source[0].eval(), _arguments(source[1])
    else:
        module, (args, kwargs) = source.module(), source.example_inputs

    def run(inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        arrays = {name: torch.from_numpy(np.array(array)) for name, array in inputs.items()}
        named = {name: arrays.pop(name) for name in kwargs if name in arrays}
        leaves, spec = _pytree.tree_flatten((args, {**kwargs, **named}))
        rest = iter(arrays.values())
        own = {id(tensor) for tensor in named.values()}
        filled = [
            leaf if id(leaf) in own or not isinstance(leaf, torch.Tensor) else next(rest, leaf)
            for leaf in leaves
        ]
        new_args, new_kwargs = _pytree.tree_unflatten(filled, spec)
        with torch.no_grad():
            result = module(*new_args, **new_kwargs)
        return [np.asarray(leaf) for leaf in _pytree.tree_leaves(result)]

    return run


def _is_torch(value: object, class_name: str) -> bool:
    return any(
        cls.__name__ == class_name and cls.__module__.split(".")[0] == "torch" for cls in type(value).__mro__
    )


def _open(source: str, origin: str) -> Any:
    if Path(source).suffix in (".pt", ".pth"):
        raise UsageError(
            f"{origin}: a {Path(source).suffix} file holds weights or TorchScript, no graph; pass what "
            'torch.export.save(torch.export.export(module, inputs), "m.pt2") writes, or "module:factory"'
        )
    if Path(source).suffix == ".pt2":
        return _load_program(Path(source), origin)
    made = find_factory(source, origin)()
    if _is_torch(made, "ExportedProgram"):
        return made
    if not (isinstance(made, tuple) and len(made) == 2 and _is_torch(made[0], "Module")):
        raise UsageError(
            f"{origin}: the factory returned a {type(made).__name__}, no pair (torch module, example inputs)"
        )
    return made


def _load_program(path: Path, origin: str) -> Any:
    import torch

    if not path.is_file():
        raise ModelError(f"{origin}: there is no file {path}")
    try:
        with _quiet():
            return torch.export.load(path)
    except Exception as error:  # zip, pickle, json and torch's own errors
        raise ModelError(
            f"{origin}: not a program saved by torch.export.save, or cut short: {_first_line(error)}"
        ) from error


def _export(module: torch.nn.Module, example: Any, origin: str) -> torch.export.ExportedProgram:
    import torch

    args, kwargs = _arguments(example)
    try:
        with _quiet(), torch.no_grad():
            return torch.export.export(module.eval(), args, kwargs)
    except Exception as error:
        raise ModelError(f"{origin}: torch.export refuses the module: {_first_line(error)}") from error


def _arguments(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return ((), dict(example)) if isinstance(example, Mapping) else (tuple(_sequence(example)), {})


def _sequence(example: Any) -> Sequence[Any]:
    return example if isinstance(example, (tuple, list)) else (example,)


def _to_onnx(program: torch.export.ExportedProgram, origin: str) -> Any:
    import torch

    try:
        with _quiet(), torch.no_grad():
            exported = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=HUB_OPSET,
                verbose=False,
                report=False,
                external_data=False,
                output_names=_output_names(program),
            )
    except Exception as error:
        raise ModelError(
            f"{origin}: PyTorch can't export the program to ONNX: {_first_line(error)}"
        ) from error
    assert exported is not None
    return ir.to_proto(exported.model)


def _output_names(program: torch.export.ExportedProgram) -> list[str] | None:
    """The keys of a program that returns a flat dict; None (the exporter names them) for any other result."""
    spec = program.call_spec.out_spec
    if spec is None or spec.type is not dict or not all(child.is_leaf() for child in spec.children()):
        return None
    return [str(key) for key in spec.context]


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


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's progress, warnings and log off the terminal; errors still come as exceptions."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
