"""`tiercast bench`: packages, every kernel, or a model beside other engines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from tiercast.cli import bench_kernels, bench_peers
from tiercast.cli.output import Inputs, Json, emit, parse_shapes, progress, table
from tiercast.errors import UsageError

if TYPE_CHECKING:
    from tiercast.bench.packages import PackageTime


def command(
    what: Annotated[
        list[str],
        typer.Argument(
            help='Packages (timed in turn), "kernels", "compare A.json B.json", or with --peers one model.'
        ),
    ],
    threads: Annotated[int, typer.Option(min=1, max=64)] = 1,
    seconds: Annotated[
        float | None,
        typer.Option(
            help="Wall time for each package (2), kernel row and case (0.1) or visit of a peer (0.25)."
        ),
    ] = None,
    op: Annotated[str | None, typer.Option(help="Kernels: only this family, say conv2d.")] = None,
    isa: Annotated[
        str | None, typer.Option(help="Kernels: only this instruction set, and portable to compare with.")
    ] = None,
    target: Annotated[
        str,
        typer.Option(help="Kernels: host, which is timed, or linux-arm64, whose instructions are counted."),
    ] = "host",
    cores: Annotated[
        str, typer.Option(help="Kernels of linux-arm64: cores to estimate cycles for, or all.", metavar="A,B")
    ] = "",
    peers: Annotated[
        bool, typer.Option("--peers", help="Time a model beside the other engines that are installed.")
    ] = False,
    peers_python: Annotated[
        Path | None, typer.Option(help="Peers: the Python that has them; this one without.", metavar="PATH")
    ] = None,
    engines: Annotated[str | None, typer.Option(help="Peers: only these, comma-separated.")] = None,
    inputs: Annotated[
        Path | None, typer.Option(help="Peers: an .npz with an array for each input; random without.")
    ] = None,
    input: Inputs = None,
    html: Annotated[Path | None, typer.Option(help="Peers: also write a page with bars.")] = None,
    json: Json = False,
) -> None:
    """Time packages, every kernel on its benchmark shapes, or a model beside other engines.

    Examples: tiercast bench seg.tcpkg; tiercast bench old.tcpkg new.tcpkg; tiercast bench kernels
    --op conv2d; tiercast bench --peers seg.onnx --threads 2 --html seg.html
    """
    if peers:
        bench_peers.run(
            what, threads, seconds, peers_python, engines, inputs, parse_shapes(input), html, json
        )
        return
    if peers_python or engines or inputs or input or html:
        raise UsageError(
            "--peers-python, --engines, --inputs, --input and --html belong to `tiercast bench --peers`"
        )
    if what == ["kernels"]:
        bench_kernels.run(op, isa, target, cores, seconds or 0.1, json)
        return
    if op is not None or isa is not None or target != "host" or cores:
        raise UsageError("--op, --isa, --target and --cores belong to `tiercast bench kernels`")
    if what[0] == "compare":
        bench_kernels.compare(what[1:], json)
        return
    from tiercast.bench.packages import time_packages

    with progress(f"timing {', '.join(what)}"):
        times = time_packages([Path(name) for name in what], threads, seconds or 2.0)
    emit(
        {"packages": [item.as_dict() for item in times]}, json, lambda console: _show_packages(console, times)
    )


def _show_packages(console: Console, times: list[PackageTime]) -> None:
    rows = table(
        "package", "inputs", ">runs", ">CPU ms min", ">median", ">wall ms min", ">median", ">GFLOP/s"
    )
    for item in times:
        numbers = [
            f"{getattr(item, key):.3f}"
            for key in ("cpu_min_ms", "cpu_median_ms", "wall_min_ms", "wall_median_ms")
        ]
        rate = 2 * item.macs / item.wall_median_ms / 1e6
        rows.add_row(escape(item.package), escape(item.inputs), str(item.runs), *numbers, f"{rate:.1f}")
    console.print(rows)
    for item in times:
        total = sum(step.median_us for step in item.steps) or 1.0
        console.print(f"\n{item.package}: {item.inputs}", markup=False)
        steps = table(">#", "step", "kernel", ">MMAC", ">us", ">%", ">GFLOP/s")
        for step in item.steps:
            rate_text = "" if step.gflops is None else f"{step.gflops:.1f}"
            numbers = [
                f"{step.macs / 1e6:.2f}",
                f"{step.median_us:.1f}",
                f"{100 * step.median_us / total:.1f}",
                rate_text,
            ]
            steps.add_row(str(step.index), escape(step.name), escape(step.kernel), *numbers)
        console.print(steps)
