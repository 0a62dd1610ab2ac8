"""Which Python runs which engine, and what to type to have one that does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from tiercast.errors import UsageError
from tiercast.peers.engines import NAMES, OURS, engine

_LEND = Path(__file__).with_name("lend.py")
_PROBE = """
import importlib.util, sys
for line in sys.argv[1:]:
    name, module = line.split("=")
    if importlib.util.find_spec(module.split(".")[0]) is not None:
        print(name)
"""


class Environment:
    """The Python that has the peers; our own engine always runs in this one."""

    def __init__(self, python: Path | None = None) -> None:
        """python: its interpreter, this one without. UsageError where there is no such program."""
        self._python = python or Path(sys.executable)
        if not self._python.is_file():
            raise UsageError(f"{self._python}: there is no such Python; {how_to_install()}")

    def command(self, name: str, module: str, *arguments: str) -> list[str]:
        """Runs `module` of this package for engine `name`, in the Python that has the engine."""
        if name == OURS or self._python == Path(sys.executable):
            return [sys.executable, "-m", module, *arguments]
        return [str(self._python), str(_LEND), module, *arguments]

    def importable(self, names: Sequence[str]) -> list[str]:
        """Those of `names` that can be imported where they would run, in the same order."""
        wanted = [f"{name}={engine(name).MODULE}" for name in names if name != OURS]
        try:
            done = subprocess.run([self._python, "-c", _PROBE, *wanted], capture_output=True, text=True)
        except OSError as error:
            raise UsageError(f"{self._python} does not run: {error}") from error
        if done.returncode:
            raise UsageError(f"{self._python} is no Python that works: {done.stderr.strip()[-300:]}")
        found = {OURS, *done.stdout.split()}
        return [name for name in names if name in found]


def variables(threads: int) -> Mapping[str, str]:
    """The environment of a process that runs an engine with so many threads."""
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
    return {**os.environ, **quiet, "OMP_NUM_THREADS": str(threads)}


def pins() -> list[str]:
    """The versions that Tiercast is compared with: its extras `peers` and `peers-alone`."""
    wanted = [line.partition(";") for line in metadata.requires("tiercast") or []]
    return [pin.strip() for pin, _, condition in wanted if "peers" in condition]


def pins_of(name: str) -> list[str]:
    """The pins of the packages that engine `name` needs."""
    return [pin for pin in pins() if pin.partition("==")[0] in engine(name).PACKAGES]


def how_to_install(names: Sequence[str] = NAMES) -> str:
    """What to type to have the engines `names` in an environment of their own."""
    wanted = list(dict.fromkeys(pin for name in names for pin in pins_of(name)))
    alone = [pin for pin in wanted if pin in _alone()]
    steps = [
        "python3 -m venv peers",
        f"peers/bin/pip install {' '.join(p for p in wanted if p not in alone)}",
    ]
    steps += [f"peers/bin/pip install --no-deps {' '.join(alone)}"] if alone else []
    return f"install them with `{' && '.join(steps)}` and give --peers-python peers/bin/python"


def _alone() -> list[str]:
    """What is installed without its dependencies: they would bring gigabytes that running does not need."""
    wanted = [line.partition(";") for line in metadata.requires("tiercast") or []]
    return [pin.strip() for pin, _, condition in wanted if "peers-alone" in condition]
