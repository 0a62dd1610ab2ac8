"""`tiercast verify --eval`: a quantized package's contract, measured again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from tiercast.cli.output import emit, progress
from tiercast.cli.run import parse_pixels
from tiercast.errors import UsageError, VerifyError

if TYPE_CHECKING:
    from tiercast.quantize.remeasure import Remeasured


def verify(
    left: str,
    right: str,
    evaluation: Path,
    metric: str | None,
    pixels: str,
    target: str | None,
    cpu: str | None,
    ops: list[Path] | None,
    json: bool,
) -> None:
    """Measures the contract of the package `right` against the float model `left`; VerifyError where it is
    broken."""
    from tiercast.quantize.remeasure import remeasure

    if not right.endswith(".tcpkg") or target is not None:
        raise UsageError("--eval compares MODEL and PACKAGE.tcpkg, the package on its own target")
    with progress(f"measuring {right}", quiet=json):
        found = remeasure(left, Path(right), evaluation, metric, parse_pixels(pixels), cpu, ops=ops)
    emit(found.as_dict(), json, lambda console: _show(console, found))
    if not found.ok:
        if json:
            raise typer.Exit(1)
        limit = found.recorded["max_drop"]
        raise VerifyError(
            f"{right}: its contract is broken: {found.metric} {found.value:.5g}, f32 {found.f32:.5g}"
            + (f"; the limit is a drop of {limit}" if limit else f"; it was {found.recorded['s8']:.5g}")
        )


def _show(console: Console, found: Remeasured) -> None:
    from tiercast.quantize.evidence import cost_text

    then = found.recorded
    other = "" if found.same_data else " (on other data)"
    console.print(
        f"{found.package}, {then['terms']}, {then['layers']} layers on integers\n"
        f"  {found.metric}: {found.value:.5g}, f32 {found.f32:.5g}, drop {found.drop:.3g}; "
        f"recorded {then['s8']:.5g}, {then['f32']:.5g}, {then['drop']:.3g}{other}\n"
        f"  cost: {cost_text(found.cost, found.unit)}, f32 {cost_text(found.f32_cost, found.unit)}; recorded "
        f"{cost_text(then['cost'], then['unit'])}, {cost_text(then['f32_cost'], then['unit'])}\n"
        f"  size: {found.size_ratio:.3f} of f32; recorded {then['size_ratio']:.3f}",
        markup=False,
        soft_wrap=True,
    )
