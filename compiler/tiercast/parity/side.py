"""The two sides of a comparison, as one writes them.

net.onnx, net.pt2, net.py:make     the model, run by its own framework
net.onnx@fuse_activation           its graph after that stage of the compiler (`load` is the imported one)
net.onnx@package                   the package that it compiles to
net.tcpkg                          a package on its own target
net.tcpkg@linux-arm64:cortex-a53   on another target, on a CPU model of its emulator
net.tcpkg@portable                 on this machine, by the portable kernels alone
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tiercast.errors import UsageError
from tiercast.pipeline import stage_names
from tiercast.target import find_target

PACKAGE = "package"  # stage name of the finished package
PORTABLE = "portable"


@dataclass(frozen=True)
class Side:
    """One side.

    source: a model in any form that `compile` takes, or a package's path. stage: of a model, after which
    stage of the compiler ("package": lowered as well); None: the framework's own result. target, cpu: where
    a package runs, by default its own target; portable: by portable kernels on this machine.
    """

    source: Any
    stage: str | None = None
    target: str | None = None
    cpu: str | None = None
    portable: bool = False

    @property
    def is_package(self) -> bool:
        """Whether it is a package file."""
        return isinstance(self.source, (str, Path)) and str(self.source).endswith(".tcpkg")

    def __str__(self) -> str:
        name = str(self.source) if isinstance(self.source, (str, Path)) else type(self.source).__name__
        place = PORTABLE if self.portable else (self.target or "") + (f":{self.cpu}" if self.cpu else "")
        after = self.stage or place
        return f"{name}@{after}" if after else name


def parse_side(side: Any) -> Side:
    """A Side as it is; text of one of the forms above; any other object is a model.

    UsageError for a suffix that is neither a stage nor a place.
    """
    if isinstance(side, Side):
        return side
    if not isinstance(side, (str, Path)):
        return Side(side)
    text = str(side)
    head, at, suffix = text.rpartition("@")
    if not at or Path(text).exists():
        return Side(text)
    return _package_side(head, suffix) if head.endswith(".tcpkg") else _model_side(head, suffix)


def with_place(side: Side, target: str | None, cpu: str | None) -> Side:
    """The side run on `target` and `cpu` where it names none itself; framework results run where they run."""
    if side.portable or (side.stage != PACKAGE and not side.is_package):
        return side
    return replace(side, target=side.target or target, cpu=side.cpu or cpu)


def _package_side(path: str, place: str) -> Side:
    if place == PORTABLE:
        return Side(path, portable=True)
    target, _, cpu = place.partition(":")
    if target:
        find_target(target)
    return Side(path, target=target or None, cpu=cpu or None)


def _model_side(model: str, stage: str) -> Side:
    known = [*stage_names(), PACKAGE]
    if stage not in known:
        raise UsageError(
            f"{model}@{stage}: {stage!r} is no stage of the compiler; in order: {', '.join(known)}"
        )
    return Side(model, stage)
