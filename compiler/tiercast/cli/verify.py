"""`tiercast verify`: parity of a package with its model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from tiercast.cli.output import Bucket, Json, Ops, emit, pick_plan, progress, table
from tiercast.errors import VerifyError
from tiercast.text import shape_text

if TYPE_CHECKING:
    from tiercast.parity import VerifyReport


def command(
    model: Annotated[str, typer.Argument(help="The model the package was compiled from.")],
    package: Annotated[Path, typer.Argument(help="Package to check.")],
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input", help="An input's .npy, .npz or picture; the others are random.", metavar="NAME=FILE"
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="Run as this target; default: the package's.")
    ] = None,
    cpu: Annotated[
        str | None, typer.Option(help="CPU model of the target's emulator, say cortex-a53.")
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Largest max|difference| / max|reference| of an output; default 1e-4, for f16 packages "
            "2e-2, for f16-weights 5e-3."
        ),
    ] = None,
    random_seed: Annotated[int, typer.Option(help="Seed of the random inputs.")] = 0,
    bucket: Bucket = None,
    ops: Ops = None,
    json: Json = False,
) -> None:
    """Compare PACKAGE with MODEL, output by output; on a mismatch show the first wrong step.

    The reference is eager PyTorch for PyTorch sources and onnxruntime (optimisations off) for ONNX. Exit code
    1 when an output is out of tolerance.
    Of several shape buckets each is compared, with --input or --bucket the one that is meant.

    Example: tiercast verify seg.onnx seg.tcpkg --cpu cortex-a53
    """
    from tiercast.cli.run import read_inputs
    from tiercast.lower.buckets import inputs_text
    from tiercast.package.file import read_plans
    from tiercast.parity import verify

    with progress(f"running {model} and {package}") as say:
        plans = read_plans(package)
        given = read_inputs(plans[pick_plan(package, bucket)], inputs or (), (0.0, 1.0))
        meant = pick_plan(package, bucket, {name: array.shape for name, array in given.items()})
        reports = []
        for number in [meant] if given or bucket is not None else range(len(plans)):
            say(f"running {model} and {package} on {inputs_text(plans[number])}")
            reports.append(verify(model, package, given, target, cpu, tolerance, random_seed, number, ops))
    report = next((item for item in reports if not item.ok), reports[0])
    result = report.as_dict()
    if len(reports) > 1:
        result["buckets"] = [item.as_dict() for item in reports]
    emit(_finite(result), json, lambda console: _show_all(console, reports))
    if not report.ok:
        if json:
            raise typer.Exit(1)
        wrong = [output.name for output in report.outputs if not output.ok]
        if report.nonfinite:
            where = f"; first in {report.first_wrong}" if report.first_wrong is not None else ""
            raise VerifyError(
                f"{package}: NaN or infinity where the model has numbers, in "
                f"{', '.join(report.nonfinite)}{where}"
            )
        raise VerifyError(f"{package}: {', '.join(wrong)} not within {report.tolerance:g} of the model")


def _finite(value: object) -> dict[str, object]:
    """JSON has no infinity: it becomes the text "inf"."""

    def walk(item: object) -> object:
        if isinstance(item, dict):
            return {key: walk(entry) for key, entry in item.items()}
        if isinstance(item, (list, tuple)):
            return [walk(entry) for entry in item]
        return str(item) if isinstance(item, float) and item - item != 0 else item

    found = walk(value)
    assert isinstance(found, dict)
    return found


def _show_all(console: Console, reports: Sequence[VerifyReport]) -> None:
    for report in reports:
        _show(console, report)


def _show(console: Console, report: VerifyReport) -> None:
    place = report.target + (f" ({report.cpu})" if report.cpu else "")
    package = f"{report.package} bucket {report.bucket}" if report.bucket else report.package
    console.print(
        f"{package} on {place} against {report.reference}, tolerance {report.tolerance:g}",
        markup=False,
    )
    rows = table("output", "shape", ">max abs", ">max rel", "")
    for output in report.outputs:
        found = output.difference
        verdict = "[green]ok[/green]" if output.ok else "[red]wrong[/red]"
        if found.nonfinite:
            verdict += f" ({found.nonfinite} NaN or infinite, unlike the model's)"
        if found.shared_nan:
            verdict += f" ({found.shared_nan} NaN in both)"
        rows.add_row(
            escape(output.name),
            shape_text(output.shape),
            f"{found.max_abs_error:.3g}",
            f"{found.max_rel_error:.3g}",
            verdict,
        )
    console.print(rows)
    if report.ok:
        return
    if report.first_wrong is not None:
        console.print(f"first wrong: {report.first_wrong}", markup=False)
    else:
        console.print(
            f"each of the {report.compared_steps} comparable steps (of {report.steps}) is within the "
            "tolerance: the error is in a step without a value in the model, or it adds up",
            markup=False,
        )
