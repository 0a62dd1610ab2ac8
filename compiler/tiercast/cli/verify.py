"""`tiercast verify`: parity of any two of model, stage of the compiler, package and target; and the
culprit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from tiercast.cli import contract
from tiercast.cli.output import (
    Bucket,
    Json,
    Ops,
    emit,
    parse_dtypes,
    parse_shapes,
    pick_plan,
    progress,
    table,
)
from tiercast.errors import UsageError, VerifyError
from tiercast.text import shape_text

if TYPE_CHECKING:
    import numpy as np

    from tiercast.parity import VerifyReport


def command(
    left: Annotated[str, typer.Argument(metavar="LEFT", help="The reference: mostly the model itself.")],
    right: Annotated[str, typer.Argument(metavar="RIGHT", help="What is judged: mostly a package.")],
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            help="An input's .npy, .npz or picture (NAME=FILE; FILE.npz gives several), or the shape of an "
            "input with open dimensions (NAME:1x3x256x256). Other inputs are random.",
            metavar="NAME=FILE",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target", "-t", help="Where RIGHT runs and is compiled for; default: the package's target."
        ),
    ] = None,
    cpu: Annotated[
        str | None, typer.Option(help="CPU model of the target's emulator, say cortex-a53.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="How MODEL@STAGE is compiled; default: as the package was.")
    ] = None,
    calibrate: Annotated[
        Path | None, typer.Option(metavar="INPUTS.npz|DIR", help="For MODEL@STAGE, as `compile` takes it.")
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Largest max|difference| / max|reference| of an output; default 1e-4, for f16 packages "
            "2e-2, for f16-weights 5e-3, for int8-weights 0.15, "
            "for int4-weights 0.75."
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a chart of the error of every step here.")
    ] = None,
    bisect: Annotated[
        bool,
        typer.Option(
            "--bisect",
            help="Find the first wrong step in O(log n) runs of parts of the package, without taps.",
        ),
    ] = False,
    extract: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the smallest part that shows the error here; reproduce it."),
    ] = None,
    evaluation: Annotated[
        Path | None,
        typer.Option(
            "--eval",
            metavar="DIR|FILE.npz",
            help="Measure the contract that a quantized package was made under again, on this data.",
        ),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="With --eval: in place of the contract's metric; see `quantize`.")
    ] = None,
    pixels: Annotated[
        str, typer.Option(metavar="LOW,HIGH", help="With --eval: what 0..255 of pictures becomes.")
    ] = "0,1",
    random_seed: Annotated[int, typer.Option(help="Seed of the random inputs.")] = 0,
    bucket: Bucket = None,
    ops: Ops = None,
    json: Json = False,
) -> None:
    """Compare RIGHT with LEFT, output by output; on a mismatch find the guilty step and pass.

    A side is one of: MODEL (run by its own framework: eager PyTorch, onnxruntime without optimisations...);
    MODEL@STAGE (its graph after a stage of the compiler, `load` being the imported one, run by portable
    kernels); MODEL@package (compiled in full); FILE.tcpkg (on its own target); FILE.tcpkg@TARGET:CPU;
    FILE.tcpkg@portable. Of several shape buckets each is compared, with --input or --bucket the one meant.
    Exit code 1 when an output is out of tolerance. With --eval, MODEL and PACKAGE are compared by the metric
    of the contract that the package was quantized under instead, and 1 says that it is broken.

    Examples: tiercast verify seg.onnx seg.tcpkg --cpu cortex-a53; tiercast verify seg.onnx
    seg.onnx@fuse_activation; tiercast verify seg.tcpkg half.tcpkg --extract part --html error.html
    """
    from tiercast.calibration import read_batches
    from tiercast.parity import verify
    from tiercast.parity.chart import write_chart

    if evaluation is not None:
        contract.verify(left, right, evaluation, metric, pixels, target, cpu, ops, json)
        return
    words = [text for text in inputs or () if _is_shape(text)]
    shapes, dtypes = parse_shapes(words), parse_dtypes(words)
    with progress(f"comparing {left} and {right}") as say:
        given, buckets = _read(left, right, inputs or (), bucket)
        reports = []
        for number in buckets:
            say(f"comparing {left} and {right}" + (f", bucket {number}" if len(buckets) > 1 else ""))
            report = verify(
                left,
                right,
                given,
                target,
                cpu,
                tolerance,
                random_seed,
                number,
                ops,
                precision=precision,
                calibrate=None if calibrate is None else read_batches(calibrate),
                shapes=shapes or None,
                dtypes=dtypes or None,
                layers=html is not None,
                bisect=bisect,
                extract=extract,
            )
            reports.append(report)
            if not report.ok:
                break  # chart and part are of the first wrong bucket
        if html is not None:
            write_chart(html, report, left)
    result = report.as_dict()
    if len(buckets) > 1:
        result["buckets"] = [item.as_dict() for item in reports]
    emit(_finite(result), json, lambda console: _show_all(console, reports))
    if not report.ok:
        if json:
            raise typer.Exit(1)
        wrong = [output.name for output in report.outputs if not output.ok]
        if report.nonfinite:
            where = f"; first in {report.first_wrong}" if report.first_wrong is not None else ""
            raise VerifyError(
                f"{report.package}: NaN or infinity where {left} has numbers, in "
                f"{', '.join(report.nonfinite)}{where}"
            )
        raise VerifyError(f"{report.package}: {', '.join(wrong)} not within {report.tolerance:g} of {left}")


def _is_shape(text: str) -> bool:
    return "=" not in text and not text.endswith(".npz")


def _read(
    left: str, right: str, requests: Sequence[str], bucket: int | None
) -> tuple[dict[str, np.ndarray], Sequence[int]]:
    """The arrays of NAME=FILE and FILE.npz words, and the shape buckets of the package that are meant.

    Pictures need a package, whose ports say how they are read.
    """
    import numpy as np

    from tiercast.cli.run import read_inputs
    from tiercast.inputs import read_archive
    from tiercast.package.file import read_plans
    from tiercast.parity.side import parse_side

    words = [text for text in requests if not _is_shape(text)]
    package = next((side for text in (right, left) if (side := parse_side(text)).is_package), None)
    if package is not None:
        path = Path(package.source)
        plans = read_plans(path)
        given = read_inputs(plans[pick_plan(path, bucket)], words, (0.0, 1.0))
        meant = pick_plan(path, bucket, {name: array.shape for name, array in given.items()})
        return given, [meant] if given or bucket is not None else range(len(plans))
    found: dict[str, np.ndarray] = {}
    for text in words:
        name, equals, file = text.rpartition("=")
        if file.endswith(".npy") and equals:
            try:
                found[name] = np.load(file, allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise UsageError(f"input {name!r}: {file} can't be read: {error}") from error
        elif file.endswith(".npz"):
            arrays = read_archive(Path(file))
            found.update({name: arrays[name]} if name in arrays else arrays)
        else:
            raise UsageError(f"--input {text!r}: without a package only .npy and .npz files are read")
    return found, [0]


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
        soft_wrap=True,
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
    for line in [] if report.ok else _findings(report):
        console.print(line, markup=False, soft_wrap=True)
    for note in report.notes:
        console.print(f"note: {note}", markup=False, soft_wrap=True)


def _findings(report: VerifyReport) -> list[str]:
    lines = []
    if report.first_wrong is not None:
        lines.append(f"first wrong: {report.first_wrong}")
    elif report.steps:
        lines.append(
            f"each of the {report.compared_steps} comparable results (of {report.steps} steps) is within the "
            "tolerance: the error is in a step without a value in the model, or it adds up"
        )
    for runs, what in ((report.probes, "steps"), (report.culprit.probes if report.culprit else (), "stages")):
        if runs:
            told = ", ".join(f"{run.at} {'ok' if run.ok else f'{run.max_rel_error:.2g}'}" for run in runs)
            lines.append(f"bisected over {what} in {len(runs)} runs: {told}")
    if report.culprit is not None:
        lines.append(f"culprit: {report.culprit}")
        if report.culprit.first_wrong is not None:
            lines.append(f"  after that pass, first wrong: {report.culprit.first_wrong}")
    made = report.extraction
    if made is not None:
        error = f"error {made.max_rel_error:.3g}"
        verdict = f"reproduces it ({error})" if made.reproduced else f"does NOT reproduce it ({error})"
        lines.append(f"extracted {made.nodes} nodes: {', '.join(made.files)}; the part {verdict}")
        lines.append(f"  {made.command}")
    return lines
