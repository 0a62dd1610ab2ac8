"""A framework in a process of its own: it may print, hold memory and crash there, and meets no other one.

Requests and replies are JSON objects, one a line, over the process's stdin and stdout; arrays and models go
by files. Starting a framework takes seconds, so a process stays for the next request, and ends when none has
come for a while.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import IO, Any

from tiercast import errors
from tiercast.errors import ModelError, TiercastError

IDLE_S = 60.0  # after which a process that nobody asks ends
Handler = Callable[[dict[str, Any]], dict[str, Any]]


class Worker:
    """A Python process, started when it is first asked, that runs `module` (one that calls `serve`).

    environment: variables to add to the process's.
    """

    def __init__(self, module: str, environment: Mapping[str, str]) -> None:
        self._module = module
        self._environment = dict(environment)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[bytes] | None = None
        self._finalizer: Callable[[], object] | None = None

    def ask(self, origin: str, **request: Any) -> dict[str, Any]:
        """The reply to a request; origin: how errors name what it is about.

        Raises the TiercastError that the process reports, ModelError with the end of its output when it dies.
        """
        with self._lock:
            for _ in range(2):  # a process that idled out just now is started again
                process = self._running()
                line = _exchange(process, json.dumps(request))
                if line or process.wait() != 0:
                    break
        if not line:
            raise ModelError(f"{origin}: {self._death(process)}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise getattr(errors, reply["kind"])(reply["error"])
        return reply

    def close(self) -> None:
        """Ends the process, if one runs."""
        with self._lock:
            if self._finalizer is not None:
                self._finalizer()
            self._process = None

    def _running(self) -> subprocess.Popen[str]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", self._module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **self._environment},
            text=True,
        )
        self._finalizer = weakref.finalize(self, _stop, self._process)
        return self._process

    def _death(self, process: subprocess.Popen[str]) -> str:
        code = process.wait()
        assert self._log is not None
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        memory = "; is there enough memory?" if code == -signal.SIGKILL else ""
        return f"the process that reads it ended with {how}{memory}\n" + "\n".join(lines[-5:])


def serve(handlers: Mapping[str, Handler]) -> None:
    """Answers requests by the handler that their "do" names, until stdin closes or nobody asks for IDLE_S.

    Whatever else is written to stdout goes to stderr.
    """
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    while select.select([sys.stdin], [], [], IDLE_S)[0]:
        line = sys.stdin.readline()
        if not line:
            return
        request = json.loads(line)
        try:
            reply = handlers[request.pop("do")](request)
        except TiercastError as error:
            reply = {"kind": type(error).__name__, "error": str(error)}
        channel.write(json.dumps(reply) + "\n")
        channel.flush()


def _exchange(process: subprocess.Popen[str], line: str) -> str:
    """The process's answer to a line; "" when it has ended."""
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(line + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        return ""
    return process.stdout.readline()


def _stop(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:
                continue
