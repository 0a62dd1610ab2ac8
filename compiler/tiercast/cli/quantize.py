"""`tiercast quantize`: a float model to one that runs on integers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from tiercast.cli.output import Inputs, Json, Ops, emit, parse_dtypes, parse_shapes, progress, table
from tiercast.cli.run import parse_pixels
from tiercast.errors import UsageError
from tiercast.text import bytes_text

if TYPE_CHECKING:
    from tiercast.quantize import Quantized
    from tiercast.quantize.islands import Island


def command(
    model: Annotated[str, typer.Argument(help="A float model in any format that `compile` takes.")],
    calib: Annotated[
        Path,
        typer.Option(
            "--calib",
            metavar="DIR|FILE.npz",
            help="Inputs as the model will meet them: an .npz of arrays by input name (several samples one "
            "after another), a folder of those, of pictures, or of a folder for each input.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="MODEL.int8.onnx, which every command takes, or a .tcpkg."),
    ] = None,
    target: Annotated[
        str, typer.Option("--target", "-t", help="What a .tcpkg is compiled for; costs are measured on it.")
    ] = "host",
    inputs: Inputs = None,
    pixels: Annotated[
        str, typer.Option(metavar="LOW,HIGH", help="What 0..255 of calibration pictures becomes.")
    ] = "0,1",
    method: Annotated[
        str, typer.Option(help="How ranges are chosen: minmax, percentile, entropy or mse.")
    ] = "mse",
    equalize: Annotated[
        bool | None,
        typer.Option("--equalize/--no-equalize", help="Cross-layer equalisation; default: where it helps."),
    ] = None,
    correct_bias: Annotated[
        bool | None,
        typer.Option("--correct-bias/--no-correct-bias", help="Bias correction; default: where it helps."),
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option("--keep", metavar="UNIT", help="Leave this unit in f32; see --json.")
    ] = None,
    check_import: Annotated[
        bool, typer.Option("--check-import/--no-check-import", help="As for `tiercast compile`.")
    ] = True,
    ops: Ops = None,
    json: Json = False,
) -> None:
    """Quantize MODEL to s8 by calibration data, without training.

    The result is ONNX in QDQ form: compile, verify and bench it like any model. What has no form on integers
    stays f32 and is named; --json lists all units.

    Example: tiercast quantize seg.onnx --calib photos --pixels=-1,1 --input image:1x3x256x256 -o
    seg.int8.onnx
    """
    from tiercast.quantize import post_training
    from tiercast.quantize.report import quantization_facts

    path = output or Path(f"{Path(model.replace(':', '_')).stem}.int8.onnx")
    if path.suffix not in (".onnx", ".tcpkg"):
        raise UsageError(f"--output {path}: it ends in .onnx or .tcpkg")
    with progress(f"reading {model}", quiet=json) as say:
        done = post_training(
            model,
            calib,
            path if path.suffix == ".onnx" else None,
            parse_shapes(inputs),
            method=method,
            equalize=equalize,
            correct_bias=correct_bias,
            keep=keep or (),
            pixels=parse_pixels(pixels),
            dtypes=parse_dtypes(inputs),
            check_import=check_import,
            ops=ops,
        )
        say(f"measuring on {target}")
        islands, unit = measured_islands(done, target, path, ops)
    result = {
        "model": model,
        "output": str(path),
        "output_bytes": path.stat().st_size,
        **quantization_facts(done, islands, unit),
    }
    emit(result, json, lambda console: _show(console, result))


def measured_islands(
    done: Quantized, target: str, path: Path, ops: list[Path] | None
) -> tuple[list[Island], str | None]:
    """The float islands with their costs on the target, and the costs' unit; None: they can't be measured
    there.

    Where `path` is a package it is written.
    """
    from tiercast.pipeline import compile
    from tiercast.quantize.costs import measure_packages, unit_of
    from tiercast.quantize.islands import find_islands, with_costs

    islands = find_islands(done.model)
    with tempfile.TemporaryDirectory(prefix="tiercast-quantize-") as folder:
        package = path if path.suffix == ".tcpkg" else Path(folder) / "quantized.tcpkg"
        if path.suffix == ".tcpkg" or islands:
            compile(done.model, target, package, ops=ops)
        if not islands:
            return [], None
        try:
            unit = unit_of(target)
        except UsageError:
            return islands, None
        costs = measure_packages([package], target, seconds=0.3)[0]
        return with_costs(islands, costs.by_value), unit


def _show(console: Console, result: dict[str, Any]) -> None:
    rows = table("unit", "operator", "precision", "why")
    for item in result["units"]:
        if item["precision"] == "f32":
            rows.add_row(item["name"], item["operator"], "f32", item["reason"])
    if rows.row_count:
        console.print(rows)
    unit = result["cost_unit"]
    for item in result["islands"]:
        cost = "" if unit is None else f", {item['cost']:.4g} {unit} with its conversions"
        console.print(
            f"  float island: {', '.join(item['operators'])} ({item['nodes'][0]}), dequantizes "
            f"{item['dequantized_elements']} and quantizes {item['quantized_elements']} elements{cost}",
            markup=False,
        )
    for line in result["notes"]:
        console.print(f"  note: {line}", markup=False)
    effects = ", ".join(f"{name} {quality:.1f} dB" for name, quality in result["sqnr_db"].items())
    islands = f"{len(result['islands'])} float islands"
    if unit is not None:
        islands += f" that cost {result['island_cost']:.4g} {unit}"
    console.print(
        f"{result['output']}: {bytes_text(result['output_bytes'])}, {result['integers']} of "
        f"{len(result['units'])} units on integers, {islands}; signal to noise of the outputs: {effects}",
        markup=False,
    )
