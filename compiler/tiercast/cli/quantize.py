"""`tiercast quantize`: a float model to one that runs on integers."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from tiercast.cli.output import Inputs, Json, Ops, emit, parse_dtypes, parse_shapes, progress, table
from tiercast.cli.run import parse_pixels
from tiercast.errors import ContractError, UsageError
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
    max_drop: Annotated[
        str | None,
        typer.Option(metavar="0.5%|X", help="Contract: the metric may drop by this share of f32's, or by X."),
    ] = None,
    max_latency: Annotated[
        str | None,
        typer.Option(metavar="8ms|0.6x", help="Contract: a run may take so long, or this share of f32's."),
    ] = None,
    size_ratio: Annotated[
        float | None, typer.Option(metavar="0.27", help="Contract: of the float package's bytes, at most.")
    ] = None,
    metric: Annotated[
        str,
        typer.Option(
            help="Contract: sqnr, psnr, iou, or file.py:function of run(inputs) -> outputs that returns a "
            "number, the higher the better."
        ),
    ] = "sqnr",
    evaluation: Annotated[
        Path | None,
        typer.Option(
            "--eval",
            metavar="DIR|FILE.npz",
            help="Contract: what the metric runs on; arrays named like an output are truths. "
            "Default: --calib.",
        ),
    ] = None,
    cpu: Annotated[str | None, typer.Option(help="Contract: CPU model of the target's emulator.")] = None,
    seconds: Annotated[float, typer.Option(min=0.01, help="Contract: of timing for each package.")] = 2.0,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Contract: the page of evidence.")
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

    With --max-drop, --max-latency or --size-ratio only so many layers run on integers that all of these hold,
    measured on the target; --html shows why. Exit code 1 where they can't be met together, with the best
    there is.

    Examples: tiercast quantize seg.onnx --calib photos --pixels=-1,1 --input image:1x3x256x256 -o
    seg.int8.onnx; tiercast quantize seg.onnx --calib train.npz --eval test.npz --metric iou --max-drop 0.5%
    --html why.html
    """
    path = output or Path(f"{Path(model.replace(':', '_')).stem}.int8.onnx")
    if path.suffix not in (".onnx", ".tcpkg"):
        raise UsageError(f"--output {path}: it ends in .onnx or .tcpkg")
    options: dict[str, Any] = {
        "method": method,
        "equalize": equalize,
        "correct_bias": correct_bias,
        "pixels": parse_pixels(pixels),
        "dtypes": parse_dtypes(inputs),
        "check_import": check_import,
        "ops": ops,
    }
    request = Request(model, calib, path, target, parse_shapes(inputs), options, ops)
    terms = {"max_drop": max_drop, "max_latency": max_latency, "size_ratio": size_ratio}
    if all(value is None for value in terms.values()):
        if html is not None or evaluation is not None or cpu is not None or metric != "sqnr":
            raise UsageError(
                "--html, --eval, --cpu and --metric belong to a contract: --max-drop, --max-latency, "
                "--size-ratio"
            )
        result = _quantize(request, keep or [], json)
    elif keep:
        raise UsageError("--keep names units by hand; under a contract the layers are chosen")
    else:
        measured = {"metric": metric, "evaluation": evaluation, "cpu": cpu, "seconds": seconds}
        result = _agree(request, {**terms, **measured}, html, json)
    emit(result, json, lambda console: _show(console, result))
    if result.get("refusal"):
        if json:
            raise typer.Exit(1)
        raise ContractError(result["refusal"])


@dataclass(frozen=True)
class Request:
    """What is to be quantized, and where it goes."""

    model: str
    calib: Path
    path: Path
    target: str
    shapes: dict[str, tuple[int, ...]]
    options: dict[str, Any]
    ops: list[Path] | None

    @property
    def file(self) -> Path | None:
        """The ONNX file to write, None where a package is asked for."""
        return self.path if self.path.suffix == ".onnx" else None


def _quantize(request: Request, keep: list[str], quiet: bool) -> dict[str, Any]:
    """All that has a form on integers."""
    from tiercast.quantize import post_training

    with progress(f"reading {request.model}", quiet=quiet) as say:
        done = post_training(
            request.model, request.calib, request.file, request.shapes, keep=keep, **request.options
        )
        say(f"measuring on {request.target}")
        return _told(request, done)


def _agree(request: Request, terms: dict[str, Any], html: Path | None, quiet: bool) -> dict[str, Any]:
    """As much as a contract allows, with its evidence."""
    from tiercast.quantize import under_contract
    from tiercast.quantize.evidence import contract_facts, write_evidence

    with progress(f"reading {request.model}", quiet=quiet) as say:
        done = under_contract(
            request.model,
            request.calib,
            request.file,
            request.shapes,
            target=request.target,
            **terms,
            **request.options,
        )
        if html is not None:
            write_evidence(html, done, request.model)
        facts = {"contract": contract_facts(done), "refusal": done.refusal, "html": html and str(html)}
        if done.best is None:
            return {"model": request.model, "output": None, **facts}
        say(f"measuring on {request.target}")
        return {**_told(request, done.best.quantized), **facts}


def _told(request: Request, done: Quantized) -> dict[str, Any]:
    from tiercast.quantize.report import quantization_facts

    islands, unit = measured_islands(done, request.target, request.path, request.ops)
    return {
        "model": request.model,
        "output": str(request.path),
        "output_bytes": request.path.stat().st_size,
        **quantization_facts(done, islands, unit),
    }


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
    if "contract" in result:
        _show_contract(console, result["contract"])
    if result["output"] is not None:
        _show_quantized(console, result)
    if result.get("html"):
        console.print(f"evidence: {result['html']}", markup=False)


def _show_contract(console: Console, facts: dict[str, Any]) -> None:
    from tiercast.quantize.evidence import cost_text

    def cost(value: float) -> str:
        return cost_text(value, facts["unit"])

    rows = table("layer", ">f32", ">s8", ">alone on integers", "precision", "why")
    for item in facts["layers"]:
        numbers = [cost(item["f32_cost"]), cost(item["s8_cost"]), f"{item['sqnr_db']:.1f} dB"]
        rows.add_row(item["name"], *numbers, item["precision"], item["reason"])
    console.print(rows)
    tried = table(
        ">layers on integers", f">{facts['metric']}", ">drop", ">cost", ">of f32", ">size of f32", ""
    )
    for item in facts["verified"]:
        numbers = [f"{item['value']:.5g}", f"{item['drop']:.3g}", cost(item["cost"])]
        numbers += [f"{item['cost'] / item['f32_cost']:.2f}", f"{item['size_ratio']:.3f}"]
        tried.add_row(str(item["layers"]), *numbers, "taken" if item["taken"] else "")
    console.print(tried)
    console.print(f"f32 {facts['metric']} {facts['f32']['value']:.5g}; {facts['terms']}", markup=False)


def _show_quantized(console: Console, result: dict[str, Any]) -> None:
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
            f"  float island: {_counted(item['operators'])} ({item['nodes'][0]}), dequantizes "
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


def _counted(operators: list[str]) -> str:
    """Operators with how many of each there are."""
    counts = {kind: operators.count(kind) for kind in dict.fromkeys(operators)}
    return ", ".join(kind if count == 1 else f"{kind} x{count}" for kind, count in counts.items())
