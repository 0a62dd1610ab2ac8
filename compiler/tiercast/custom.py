"""Ops of a user's own folder: `<op>.py` beside `kernels/<op>/`, laid out like ours (docs/adding.md), loaded
for as long as they are wanted and never mixed up with ours.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import os
import sys
import tomllib
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any

import xxhash
from onnx import defs

from tiercast import kernel
from tiercast.errors import GraphError, TiercastError, UsageError
from tiercast.ir import domain
from tiercast.kernel import KernelFamily, own_families, read_families
from tiercast.ops import registry
from tiercast.ops.registry import Op, own_ops

VARIABLE = "TIERCAST_OPS"
_METHODS = ("legalize", "infer", "infer_onnx", "lower", "macs", "reference", "reference_onnx")


@dataclass(frozen=True)
class CustomOps:
    """What one folder holds: its ops by physical name and its kernel families."""

    folder: Path
    ops: dict[str, Op]
    families: dict[str, KernelFamily]


def find_folders(given: Sequence[str | PathLike[str]] | str | PathLike[str] | None) -> list[Path]:
    """The folders of custom ops to use: those given, else those of $TIERCAST_OPS, else those that `ops` of
    [tool.tiercast] names in the pyproject.toml of the working folder or the nearest one above it.

    UsageError for a folder that is not there.
    """
    if given is not None:
        listed = [given] if isinstance(given, (str, PathLike)) else list(given)
        return [_folder(Path(item), "--ops") for item in listed]
    if VARIABLE in os.environ:
        words = [word for word in os.environ[VARIABLE].split(os.pathsep) if word]
        return [_folder(Path(word), f"${VARIABLE}") for word in words]
    return _project_folders(Path.cwd())


@contextmanager
def custom_ops(folders: Sequence[Path]) -> Iterator[list[CustomOps]]:
    """Within it the ops and kernels of the folders are known, after ours.

    Raises UsageError for names that clash with ours or each other's, and for files that can't be read: which
    file, which line.
    """
    loaded: list[CustomOps] = []
    with ExitStack() as stack:
        for folder in folders:
            found = load_ops(folder)
            _refuse_clashes(found)
            stack.enter_context(kernel.extended(found.families))
            stack.enter_context(registry.extended(found.ops))
            loaded.append(found)
        takers = {name: op for item in loaded for op in item.ops.values() for name in op.onnx if "::" in name}
        if takers:
            stack.enter_context(domain.foreign(takers))
        yield loaded


def load_ops(folder: Path) -> CustomOps:
    """The ops of one folder. UsageError with file and line where its code fails."""
    ops: dict[str, Op] = {}
    for path in sorted(folder.glob("*.py")):
        if path.name.startswith("_"):
            continue
        for name, cls in vars(_import(path)).items():
            own = inspect.isclass(cls) and issubclass(cls, Op) and cls.__module__ == _module_name(path)
            if own and not name.startswith("_"):
                ops[name] = _guarded(cls, folder)
    families = read_families(folder / "kernels")
    if not ops:
        raise UsageError(f"{folder}: no file <op>.py in it defines a subclass of tiercast.ops.registry.Op")
    return CustomOps(folder, ops, families)


def _folder(path: Path, source: str) -> Path:
    if not path.is_dir():
        raise UsageError(
            f"{source}: {path} is no folder; it must hold <op>.py files and kernels/<op>/kernels.toml"
        )
    return path.resolve()


def _project_folders(start: Path) -> list[Path]:
    for folder in (start, *start.parents):
        path = folder / "pyproject.toml"
        if path.is_file():
            try:
                listed = tomllib.loads(path.read_text()).get("tool", {}).get("tiercast", {}).get("ops", [])
            except (tomllib.TOMLDecodeError, OSError) as error:
                raise UsageError(f"{path}: can't be read for [tool.tiercast]: {error}") from error
            if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
                raise UsageError(
                    f'{path}: `ops` of [tool.tiercast] must be a list of folders, say ["my_ops"]'
                )
            return [_folder(folder / item, f"{path}: [tool.tiercast]") for item in listed]
    return []


def _module_name(path: Path) -> str:
    return f"tiercast_custom_{xxhash.xxh3_64_hexdigest(str(path.parent).encode())[:8]}.{path.stem}"


def _import(path: Path) -> ModuleType:
    """Runs the file anew, so that a changed one is taken as it is now."""
    name = _module_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up
    try:
        spec.loader.exec_module(module)
    except TiercastError:
        raise
    except Exception as error:  # whatever the user's file does
        raise UsageError(f"{_place(error, path.parent) or path}: {_text(error)}") from error
    return module


def _guarded(cls: type[Op], folder: Path) -> Op:
    """The op, whose methods turn any error of their own into one that says where in the folder it was."""
    op = cls()

    def guard(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*arguments: Any, **keywords: Any) -> Any:
            try:
                return method(*arguments, **keywords)
            except TiercastError:
                raise
            except Exception as error:  # the user's code may raise anything
                raise GraphError(f"{_place(error, folder)}: {cls.__name__}.{name}: {_text(error)}") from error

        return call

    for name in _METHODS:
        setattr(op, name, guard(name, getattr(op, name)))
    return op


def _place(error: Exception, folder: Path) -> str:
    """file:line of the innermost frame in the folder; of a SyntaxError, where it says."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if Path(frame.filename).is_relative_to(folder)]
    return f"{inside[-1].filename}:{inside[-1].lineno}" if inside else str(folder)


def _text(error: Exception) -> str:
    if isinstance(error, NotImplementedError) and not str(error):
        return "it is not implemented"
    return f"{type(error).__name__}: {error}"


def _refuse_clashes(found: CustomOps) -> None:
    """UsageError for a name that is ours, another folder's, or ONNX's in another domain."""
    taken_ops, taken = {**own_ops(), **registry.extra_ops()}, registry.legalizers()
    for name, op in found.ops.items():
        if name in taken_ops:
            raise UsageError(f"{found.folder}: the op {name!r} is there already; give its class another name")
        for onnx_type in op.onnx:
            space, _, plain = onnx_type.rpartition("::")
            if onnx_type in taken:
                raise UsageError(
                    f"{found.folder}: {name} takes ONNX's {onnx_type!r}, which {taken[onnx_type].name} takes"
                )
            if space and defs.has(plain):
                raise UsageError(
                    f"{found.folder}: {name} takes {onnx_type!r}, but {plain!r} is an operator of ONNX "
                    "itself, for which passes would take it; rename the operator in its domain"
                )
    known = {**own_families(), **kernel.families()}
    rows = {row.name for family in known.values() for row in family.rows}
    meanings = {row.op for family in known.values() for row in family.rows}
    for family in found.families.values():
        path = family.folder / "kernels.toml"
        if family.folder.name != family.name:
            raise UsageError(
                f"{path}: [op] name is {family.name!r}; it must be the folder's, {family.folder.name!r}"
            )
        if family.name in known:
            raise UsageError(f"{path}: kernel family {family.name!r} is there already; rename it")
        for row in family.rows:
            if row.name in rows or row.op in meanings:
                raise UsageError(f"{path}: kernel row {row.name} (op {row.op}) is there already; rename it")
        for op_name in {row.op for row in family.rows}:
            if all(row.needs for row in family.rows if row.op == op_name):
                raise UsageError(
                    f'{path}: {op_name} has no row with isa = "portable", which every CPU can run'
                )
