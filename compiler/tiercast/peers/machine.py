"""What the figures of a comparison depend on: the processor, and how busy others kept it meanwhile."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any


def machine_facts() -> dict[str, Any]:
    """Processor, cores, load average over the last minute, date."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    named = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return {
        "cpu": next(named, platform.machine()), "cores": os.cpu_count(), "load": _load(),
        "date": time.strftime("%Y-%m-%d %H:%M"),
    }  # fmt: skip


class Neighbours:
    """Measures what share of the machine other processes used between its making and `facts`."""

    def __init__(self) -> None:
        self._begin = (time.monotonic(), _busy_s(), _own_s())

    def facts(self) -> dict[str, float]:
        """load_at_end; seconds it took; neighbours: share (0 to 1) of all cores that others used."""
        seconds = time.monotonic() - self._begin[0]
        others_s = max(0.0, (_busy_s() - self._begin[1]) - (_own_s() - self._begin[2]))
        share = others_s / (seconds * (os.cpu_count() or 1)) if seconds else 0.0
        return {"load_at_end": _load(), "seconds": round(seconds, 1), "neighbours": round(min(1.0, share), 2)}


def _load() -> float:
    return round(os.getloadavg()[0], 1)


def _busy_s() -> float:
    words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system = map(int, words[:3])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system
