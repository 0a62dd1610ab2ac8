"""All nets of the zoo: every module `<family>_nets.py` of this folder lists its own."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

import benchmarks.zoo
from benchmarks.zoo.subject import Subject


@cache
def subjects() -> dict[str, Subject]:
    """Every net by name, family by family."""
    modules = [
        info.name for info in pkgutil.iter_modules(benchmarks.zoo.__path__) if info.name.endswith("_nets")
    ]
    found = [
        subject
        for name in sorted(modules)
        for subject in importlib.import_module(f"benchmarks.zoo.{name}").subjects()
    ]
    return {subject.name: subject for subject in found}
