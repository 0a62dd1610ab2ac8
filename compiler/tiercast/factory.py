"""The functions that "module:factory" and "file.py:factory" name."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tiercast.errors import UsageError


def find_factory(source: str, origin: str) -> Any:
    """The function that `source` names; modules are also looked for in the current folder.

    origin: how errors name the source. UsageError when the module can't be imported or has no such function.
    """
    place, _, name = source.rpartition(":")
    try:
        module = _import_file(Path(place)) if place.endswith(".py") else _import_module(place)
    except (ImportError, OSError, SyntaxError) as error:
        raise UsageError(f"{origin}: {place!r} can't be imported: {error}") from error
    factory = getattr(module, name, None)
    if not callable(factory):
        raise UsageError(f"{origin}: {place!r} has no function {name!r}")
    return factory


def _import_module(name: str) -> Any:
    with _on_path(Path.cwd()):
        return importlib.import_module(name)


def _import_file(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses and pickling look their module up
    with _on_path(path.resolve().parent):
        spec.loader.exec_module(module)
    return module


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
