"""What can't be compiled, one entry per node; raised at the first, or collected over the whole model.

`compile` stops at the first refusal. `tiercast check` compiles inside `collect`, where whoever refuses a node
goes on behind it, so that all refusals of a model are known at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from tiercast.errors import ModelError

NOT_SUPPORTED = "the operator is not supported"


@dataclass(frozen=True)
class Refusal:
    """One node that can't be compiled.

    op: its operator, as the model's format calls it; "" where the whole model is meant. node: its name.
    rule: what it breaks. result: the name of its first result, which passes keep when they rename nodes.
    behind: the operator whose result has no known shape, where only that keeps the node from being checked.
    """

    op: str
    node: str
    rule: str
    result: str = ""
    behind: str = ""


_collected: ContextVar[list[Refusal] | None] = ContextVar("tiercast.refusals", default=None)


@contextmanager
def collect() -> Iterator[list[Refusal]]:
    """Within it, `refuse` keeps what is refused in the list instead of raising."""
    found: list[Refusal] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


def collecting() -> bool:
    """Whether a caller collects refusals."""
    return _collected.get() is not None


def refuse(error: ModelError, refusals: Sequence[Refusal]) -> None:
    """Raises `error`, which tells the refusals; while collecting, keeps them (each node once) and returns."""
    found = _collected.get()
    if found is None:
        raise error
    known = {item.result for item in found if item.result}
    found.extend(item for item in refusals if item.result not in known)
