"""What long work says it is doing: whoever shows progress listens, whoever works reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_listener: ContextVar[Callable[[str], None] | None] = ContextVar("listener", default=None)


def report_progress(text: str) -> None:
    """Tells the listener, if there is one, what is being done from now on."""
    listener = _listener.get()
    if listener is not None:
        listener(text)


@contextmanager
def listening(listener: Callable[[str], None]) -> Iterator[None]:
    """Calls `listener` with every report inside the block, in this thread (or task)."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
