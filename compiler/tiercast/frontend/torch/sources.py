"""What users hand over, opened: an exported program, the arguments it was exported with, eager PyTorch."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree

from tiercast.errors import ModelError, UsageError
from tiercast.factory import find_factory
from tiercast.frontend.torch import is_torch
from tiercast.frontend.torch.exporter import cause_of, export_program, quiet
from tiercast.frontend.torch.script import example_arguments, export_script
from tiercast.progress import report_progress

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Judge = Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]


@dataclass(frozen=True)
class Opened:
    """A source as an exported program; `judge` is the source itself in eager PyTorch.

    origin: how errors name it. arguments: args and kwargs that the program was exported with.
    """

    program: torch.export.ExportedProgram
    judge: Judge
    arguments: Arguments
    origin: str


def open_source(source: Any, inputs: Mapping[str, Sequence[int]], dtypes: Mapping[str, str]) -> Opened:
    """The source exported; raises as `read` says."""
    found, origin = _find(source)
    if isinstance(found, torch.export.ExportedProgram):
        arguments = _program_arguments(found, origin)
        return Opened(found, _judge(found.module(), arguments), arguments, origin)
    if isinstance(found, torch.jit.ScriptModule):
        found = (found, example_arguments(found, inputs, dtypes, origin))
    module, arguments = _evaluated(found[0]), _arguments(found[1])
    args, kwargs = arguments
    if isinstance(module, torch.jit.ScriptModule):
        program = export_script(module, args, kwargs, origin)
    else:
        program = export_program(module, args, kwargs, origin)
    return Opened(program, _judge(module, arguments), arguments, origin)


def open_judge(source: Any) -> Judge:
    """The source in eager PyTorch on the CPU; inputs of a mapping or keywords go by name, else by order."""
    found, origin = _find(source)
    if isinstance(found, torch.export.ExportedProgram):
        return _judge(found.module(), _program_arguments(found, origin))
    if isinstance(found, torch.jit.ScriptModule):
        return _script_judge(found.eval())
    return _judge(_evaluated(found[0]), _arguments(found[1]))


def _evaluated(module: Any) -> Any:
    """The module in eval mode; one that PyTorch's PT2E flow has converted is in it, and refuses the call."""
    try:
        return module.eval()
    except NotImplementedError:
        return module


def _find(source: Any) -> tuple[Any, str]:
    """The exported program, script module or pair that the source is or names, and its origin."""
    if not isinstance(source, (str, Path)):
        named = source[0] if isinstance(source, tuple) else source
        return source, f"torch:{type(named).__name__}"
    origin = f"torch:{Path(str(source)).name}"
    if Path(source).suffix in (".pt2", ".pt", ".pth", ".ptl"):
        return _load_file(Path(source), origin), origin
    made = find_factory(str(source), origin)()
    if is_torch(made, "ExportedProgram") or is_torch(made, "ScriptModule"):
        return made, origin
    if not (isinstance(made, tuple) and len(made) == 2 and is_torch(made[0], "Module")):
        raise UsageError(
            f"{origin}: the factory returned a {type(made).__name__}, no pair (torch module, example inputs)"
        )
    return made, origin


def _load_file(path: Path, origin: str) -> Any:
    """A .pt2's program or a TorchScript module, by what the file holds."""
    if not path.is_file():
        raise ModelError(f"{origin}: there is no file {path}")
    report_progress(f"reading {path.name}")
    # Registers quantized_decomposed, the operators of programs that PyTorch has quantized.
    import torch.ao.quantization.fx._decomposed

    names = _names_in(path)
    if path.suffix != ".pt2":
        if any(name.split("/", 1)[-1].startswith("code/") for name in names):
            return _load(path, lambda: torch.jit.load(path, map_location="cpu"), "TorchScript", origin)  # type: ignore[no-untyped-call]
        if not any("models/" in name or name.endswith("serialized_exported_program.json") for name in names):
            raise _no_graph(path, origin)
    return _load(path, lambda: torch.export.load(path), "a program saved by torch.export.save", origin)


def _load(path: Path, load: Callable[[], Any], what: str, origin: str) -> Any:
    try:
        with quiet():
            return load()
    except Exception as error:  # zip, pickle, json and torch's own errors
        raise ModelError(f"{origin}: not {what}, or cut short: {cause_of(error)}") from error


def _names_in(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return []


def _no_graph(path: Path, origin: str) -> ModelError:
    """Why a file that is neither TorchScript nor an exported program can't be compiled."""
    what_to_do = (
        'pass "module:factory" of a function that builds the module and loads them, or the file that '
        "torch.jit.save or torch.export.save writes"
    )
    try:
        with quiet():
            held = torch.load(path, map_location="meta", weights_only=True)
    except pickle.UnpicklingError:
        return ModelError(
            f"{origin}: a pickled Python object, whose classes and code are not in the file; {what_to_do}"
        )
    except Exception as error:  # zip, pickle and torch's own errors
        return ModelError(f"{origin}: no PyTorch file, or cut short: {cause_of(error)}")
    tensors = sum(isinstance(leaf, torch.Tensor) for leaf in _pytree.tree_leaves(held))
    return ModelError(f"{origin}: it holds weights ({tensors} tensors) and no graph; {what_to_do}")


def _program_arguments(program: torch.export.ExportedProgram, origin: str) -> Arguments:
    if program.example_inputs is None:
        raise ModelError(
            f"{origin}: the program holds no example inputs; save what torch.export.export returned"
        )
    args, kwargs = program.example_inputs
    return tuple(args), dict(kwargs)


def _arguments(example: Any) -> Arguments:
    if isinstance(example, Mapping):
        return (), dict(example)
    return (tuple(example) if isinstance(example, (tuple, list)) else (example,)), {}


def _judge(module: Any, arguments: Arguments) -> Judge:
    args, kwargs = arguments

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
            return _arrays(module(*new_args, **new_kwargs))

    return run


def _script_judge(script: torch.jit.ScriptModule) -> Judge:
    def run(inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        with torch.no_grad():
            return _arrays(script(**{name: torch.from_numpy(np.array(x)) for name, x in inputs.items()}))

    return run


def _arrays(result: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in _pytree.tree_leaves(result) if leaf is not None]
