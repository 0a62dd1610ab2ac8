"""`tiercast compile`: a model to a package."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from tiercast.cli.output import Json, Ops, emit, progress, table
from tiercast.errors import UsageError
from tiercast.extras import folder_beside
from tiercast.text import bytes_text, shape_text

if TYPE_CHECKING:
    import onnx_ir as ir

    from tiercast.ir.report import PassReport
    from tiercast.lower.plan import Plan
    from tiercast.pipeline import Compilation


def command(
    model: Annotated[
        str,
        typer.Argument(
            help="model.onnx, model.pt2, model.pt (TorchScript, with --input), or "
            '"file.py:factory" (PyTorch module and example inputs).'
        ),
    ],
    target: Annotated[str, typer.Option("--target", "-t", help="See `tiercast targets`.")] = "host",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Package to write; default MODEL.TARGET.tcpkg.")
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="NAME:SHAPE[:DTYPE]",
            help="Fix an input's shape: NAME:1x3x256x256 (TorchScript: with the element type where it is not "
            "f32, NAME:1x16:s64). Several sizes make shape buckets in one package: "
            "a list 256,384,512, a range 256..512 (doubling) or 256..512/128 (steps).",
        ),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="f32; f16: half precision where the values allow it, on targets with fp16; "
            "f16-weights: half the package, int8-weights: 0.3 of it, int4-weights: 0.2 of it, all three "
            "computed in f32."
        ),
    ] = "f32",
    calibrate: Annotated[
        Path | None,
        typer.Option(
            metavar="INPUTS.npz|DIR",
            help="With f16: inputs on which the values' ranges are measured; what would overflow stays f32.",
        ),
    ] = None,
    print_after: Annotated[
        list[str] | None,
        typer.Option("--print-after", metavar="PASS", help="Print the graph after this pass."),
    ] = None,
    save_after: Annotated[
        list[str] | None,
        typer.Option(
            "--save-after", metavar="PASS=FILE.onnx", help="Save the graph after this pass, for Netron."
        ),
    ] = None,
    records: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Measured times of `tiercast tune` to use instead of the target's."),
    ] = None,
    check_import: Annotated[
        bool,
        typer.Option(
            "--check-import/--no-check-import",
            help="Compare what PyTorch's exporter made with eager PyTorch, every dynamic dimension at a "
            "second size too.",
        ),
    ] = True,
    ops: Ops = None,
    tvm: Annotated[
        bool, typer.Option("--tvm", help="Have TVM write kernels for operators that Tiercast has none for.")
    ] = False,
    prefer: Annotated[
        str | None,
        typer.Option(metavar="tvm", help="Have TVM write kernels for whatever it can, also beside ours."),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report of the compilation here.")] = None,
    json: Json = False,
) -> None:
    """Compile MODEL to a package for a target.

    Example: tiercast compile seg.onnx --target linux-arm64 -o seg.tcpkg --input image:1x3x256x256
    """
    from tiercast.calibration import read_batches
    from tiercast.frontend.shapes import has_buckets, parse_dtypes, parse_shapes
    from tiercast.ir.edit import static_shape
    from tiercast.ir.print import to_text
    from tiercast.pipeline import check_stage_name, compile_buckets, write_compilation

    printed: dict[str, str] = {}
    wanted = {check_stage_name(name) for name in print_after or ()}
    before: dict[str, int] = {}
    files = dict(_save_request(text) for text in save_after or ())
    shapes = parse_shapes(inputs)
    if has_buckets(shapes) and (wanted or files or report):
        raise UsageError(
            "--print-after, --save-after and --report show one shape; give --input one size each"
        )
    with progress(f"reading {model}", quiet=json) as say:

        def watch(stage: str, graph: ir.Model) -> None:
            port = " ".join(shape_text(static_shape(value) or ()) for value in graph.graph.inputs[:2])
            say(f"{stage} done ({port})")
            if stage == "load":
                before.update(Counter(node.op_type for node in graph.graph).most_common())
            if stage in wanted:
                printed[stage] = to_text(graph)
            if stage in files:
                save_graph(graph, files[stage])

        batches = None if calibrate is None else read_batches(calibrate)
        buckets = compile_buckets(
            model,
            target,
            shapes,
            precision=precision,
            calibrate=batches,
            watch=watch,
            records=records,
            dtypes=parse_dtypes(inputs),
            check_import=check_import,
            ops=ops,
            tvm=_tvm_mode(tvm, prefer),
        )
        done = buckets[0]
        path = write_compilation(buckets, output or Path(f"{done.plan.facts['model']}.{target}.tcpkg"))
        if report is not None:
            from tiercast.report import ReportContent, write_report

            write_report(report, ReportContent(done, path, before))
    result = {**summary(done), "package": str(path), "package_bytes": path.stat().st_size, "printed": printed}
    if len(buckets) > 1:
        result["buckets"] = bucket_facts([item.plan for item in buckets])
        result["arena_bytes"] = max(item.plan.arena_bytes for item in buckets)
    if precision == "f16" and calibrate is None:
        result["warning"] = "ranges were measured on random inputs; give real ones with --calibrate"
    emit(result, json, lambda console: _show(console, result))


def bucket_facts(plans: Sequence[Plan]) -> list[dict[str, Any]]:
    """Of each shape bucket its input shapes, counts and sizes; how much of its constants others need too."""
    from tiercast.lower.buckets import measure_sharing

    sharing = measure_sharing(plans)
    return [
        {
            "bucket": number,
            "inputs": {port.name: list(port.dims) for port in plan.inputs},
            "outputs": {port.name: list(port.dims) for port in plan.outputs},
            "steps": len(plan.steps),
            "macs": sum(step.macs for step in plan.steps),
            "arena_bytes": plan.arena_bytes,
            "constants_bytes": sharing.own_bytes[number],
            "shared_constants_bytes": sharing.shared_bytes[number],
        }
        for number, plan in enumerate(plans)
    ]


def show_buckets(console: Console, buckets: Sequence[dict[str, Any]]) -> None:
    """A line for each of `bucket_facts`."""
    rows = table("bucket", "inputs", ">steps", ">MMAC", ">arena", ">constants", ">shared")
    for item in buckets:
        shapes = " ".join(f"{name} {shape_text(dims)}" for name, dims in item["inputs"].items())
        sizes = [
            bytes_text(item[key]) for key in ("arena_bytes", "constants_bytes", "shared_constants_bytes")
        ]
        rows.add_row(str(item["bucket"]), shapes, str(item["steps"]), f"{item['macs'] / 1e6:.1f}", *sizes)
    console.print(rows)


def save_graph(model: ir.Model, path: Path) -> None:
    """Writes the graph as an ONNX file, whole or not at all; PackageError when it can't be written."""
    import onnx_ir as ir

    from tiercast.package.file import write_atomically

    write_atomically(path, ir.to_proto(model).SerializeToString())


def summary(done: Compilation) -> dict[str, Any]:
    """Counts, sizes, passes and times of a compilation."""
    from tiercast.lower.calls import KEPT, KEPT_WIDER

    plan = done.plan
    kernels: dict[str, int] = {}
    for step in (*plan.prepare, *plan.steps):
        kernels[step.kernel] = kernels.get(step.kernel, 0) + 1
    return {
        "target": plan.target,
        "steps": len(plan.steps),
        "macs": sum(step.macs for step in plan.steps),
        "arena_bytes": plan.arena_bytes,
        "prepared_bytes": plan.prepared_bytes,
        "weights_bytes": len(plan.weights),
        "kernels": kernels,
        "passes": [
            {
                "name": item.name,
                "applied": item.applied,
                "refused": [f"{node}: {why}" for node, why in item.refused],
            }
            for item in done.reports
        ],
        "copies": done.copies,
        "extra_kernels": [] if done.extras is None else [row.name for row in done.extras.rows],
        "precision": plan.facts["precision"],
        "kept_f32": [
            *(f"{node}: {why}" for node, why in _precision_report(done).refused),
            *(text for name, text in plan.facts.items() if name.startswith(KEPT)),
        ],
        "kept_wider": [text for name, text in plan.facts.items() if name.startswith(KEPT_WIDER)],
        "times_ms": {name: round(time_ms, 2) for name, time_ms in done.times_ms.items()},
    }


def _precision_report(done: Compilation) -> PassReport:
    return next(report for report in done.reports if report.name == "choose_precision")


def _tvm_mode(tvm: bool, prefer: str | None) -> str | None:
    if prefer not in (None, "tvm"):
        raise UsageError(f"--prefer {prefer!r} is unknown; it takes tvm")
    return "prefer" if prefer else "missing" if tvm else None


def _save_request(text: str) -> tuple[str, Path]:
    from tiercast.pipeline import check_stage_name

    stage, equals, file = text.partition("=")
    if not equals or not file:
        raise UsageError(f"--save-after {text!r} is not PASS=FILE.onnx")
    return check_stage_name(stage), Path(file)


def _show(console: Console, result: dict[str, Any]) -> None:
    for stage, text in result["printed"].items():
        console.rule(f"after {stage}")
        console.print(text, markup=False)
    passes = table("pass", ">applied", ">refused", ">ms")
    for item in result["passes"]:
        time_ms = result["times_ms"].get(item["name"], 0.0)
        passes.add_row(item["name"], str(len(item["applied"])), str(len(item["refused"])), f"{time_ms:.1f}")
    console.print(passes)
    for line in result["kept_f32"]:
        console.print(f"  f32: {line}", markup=False)
    for line in result["kept_wider"]:
        console.print(f"  wider: {line}", markup=False)
    if "warning" in result:
        console.print(f"  warning: {result['warning']}", markup=False)
    for line in result["copies"]:
        console.print(f"  copy: {line}", markup=False)
    if "buckets" in result:
        show_buckets(console, result["buckets"])
    if result["extra_kernels"]:
        beside = folder_beside(Path(result["package"]))
        console.print(f"  extra kernels in {beside}: {', '.join(result['extra_kernels'])}", markup=False)
    counts = f"{result['steps']} steps, {result['macs'] / 1e6:.1f} MMAC"
    if "buckets" in result:
        counts = f"{len(result['buckets'])} shape buckets"
    console.print(
        f"{result['package']}: {counts}, package "
        f"{bytes_text(result['package_bytes'])}, weights {bytes_text(result['weights_bytes'])}, "
        f"arena {bytes_text(result['arena_bytes'])}, prepared {bytes_text(result['prepared_bytes'])}",
        markup=False,
    )
