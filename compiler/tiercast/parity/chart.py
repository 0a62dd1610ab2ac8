"""One self-contained HTML page: the error of every step, the first wrong one, and what the bisections ran."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from tiercast.package.file import write_atomically
from tiercast.page import page_templates
from tiercast.parity.difference import Difference
from tiercast.parity.report import StepParity, VerifyReport
from tiercast.text import shape_text

# The chart's axis: relative errors from 1e-9 (an f32 rounding is 6e-8) to 10.
_LEAST, _MOST = -9.0, 1.0


def write_chart(path: Path, report: VerifyReport, left: str) -> Path:
    """Writes the page whole or not at all; PackageError when it can't be written. left: what was
    compared with.
    """
    return write_atomically(path, render_chart(report, left).encode())


def render_chart(report: VerifyReport, left: str) -> str:
    """The page's HTML; it refers to nothing outside itself."""
    environment = page_templates(__file__)
    first = report.first_wrong
    rows = [_row(layer, report) for layer in report.layers]
    guilty = next((row for row in rows if first is not None and row["is_first"]), None)
    return environment.get_template("chart.html.j2").render(
        report=report,
        left=left,
        rows=rows,
        guilty=guilty,
        tolerance_at=position(report.tolerance),
        decades=[(position(10.0**power), f"1e{power}") for power in range(int(_LEAST), int(_MOST) + 1, 2)],
        hidden=sum(layer.difference is None for layer in report.layers),
        shape=shape_text,
    )


def position(error: float) -> float:
    """Where an error lies on the chart's logarithmic axis, in percent; 100 for infinity."""
    if error <= 0:
        return 0.0
    power = _MOST if math.isinf(error) else math.log10(error)
    return round(100 * min(max((power - _LEAST) / (_MOST - _LEAST), 0.0), 1.0), 2)


def _width(found: Difference | None) -> float:
    if found is None:
        return 0.0
    return 100.0 if found.nonfinite else position(found.max_rel_error)


def _row(layer: StepParity, report: VerifyReport) -> dict[str, Any]:
    found, first = layer.difference, report.first_wrong
    is_first = first is not None and (first.index, first.source) in (
        (layer.index, layer.source),
        (layer.index, layer.name),
    )
    return {
        "layer": layer,
        "shape": shape_text(layer.shape),
        "known": found is not None,
        "width": _width(found),
        "is_first": is_first,
        "worst": layer.worst,
    }
