"""Which part of the way from model to result went wrong: a binary search over the compiler's stages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tiercast.errors import UsageError
from tiercast.parity.bisect import first_bad
from tiercast.parity.difference import agree, difference
from tiercast.parity.report import Culprit, Probe
from tiercast.parity.runner import Arrays, Runner
from tiercast.parity.side import PACKAGE, Side
from tiercast.parity.stages import Stages
from tiercast.parity.steps import compare_steps
from tiercast.pipeline import stage_names

_SOURCE, _FILE = "source", "file"


def stations(left: Side, right: Side) -> list[str]:
    """The way from the left side to the right one, both included: source, stages, "package", "file"."""
    way = [_SOURCE, *stage_names(), PACKAGE, _FILE]
    begin = way.index(left.stage or _SOURCE)
    end = way.index(_FILE if right.is_package else right.stage or _SOURCE)
    if begin >= end:
        raise UsageError(f"{right} does not come after {left} on the way through the compiler")
    return way[begin : end + 1]


def find_culprit(
    way: Sequence[str],
    expected: Sequence[np.ndarray],
    stages: Stages,
    reference: Runner,
    arrays: Arrays,
    tolerance: float,
    place: tuple[str, str | None],
) -> Culprit:
    """The first station of `way` whose outputs are wrong; its first one is right, its last one wrong.

    expected: the outputs of the first. reference: who has the right values of single steps. place: target
    and CPU of the package.
    """

    def probe(index: int) -> Probe:
        return judge_outputs(way[index], _runner(stages, way[index], place), arrays, expected, tolerance)

    bad, probes = first_bad(0, len(way) - 1, probe)
    name = way[bad]
    kind = {"load": "import", PACKAGE: "kernels", _FILE: "file"}.get(name, "pass")
    if kind != "pass":
        where = place[0] + (f" ({place[1]})" if place[1] else "")
        return Culprit(kind, where if kind == "kernels" else name, tuple(probes))
    wrong = compare_steps(reference, _runner(stages, name, place), arrays, tolerance).first_wrong
    return Culprit(kind, name, tuple(probes), wrong)


def judge_outputs(
    at: str, runner: Runner, arrays: Arrays, expected: Sequence[np.ndarray], tolerance: float
) -> Probe:
    """One run of a side against the outputs it should have."""
    pairs = list(zip(runner.run(arrays), expected, strict=True))
    found = [difference(got, wanted) for got, wanted in pairs]
    return Probe(
        at,
        max((item.max_rel_error for item in found), default=0.0),
        sum(item.nonfinite for item in found),
        all(agree(item, *pair, tolerance, runner.quantized) for item, pair in zip(found, pairs, strict=True)),
    )


def _runner(stages: Stages, station: str, place: tuple[str, str | None]) -> Runner:
    return stages.runner(station, station, *place)
