"""`tiercast inspect`: a model, its graph after any pass, a package, or a kernel's source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from tiercast.cli.output import (
    Bucket,
    Inputs,
    Json,
    Ops,
    emit,
    parse_dtypes,
    parse_shapes,
    pick_plan,
    progress,
    table,
)
from tiercast.errors import UsageError
from tiercast.text import bytes_text, shape_text

if TYPE_CHECKING:
    import onnx_ir as ir

    from tiercast.lower.plan import Plan, Step


def command(
    what: Annotated[str | None, typer.Argument(help="A package (.tcpkg) or a model.")] = None,
    after: Annotated[
        str | None, typer.Option(metavar="PASS", help="Show a model's graph after this pass.")
    ] = None,
    target: Annotated[str, typer.Option("--target", "-t", help="Target that --after compiles for.")] = "host",
    inputs: Inputs = None,
    refusals: Annotated[bool, typer.Option(help="Show why better kernels were refused.")] = False,
    decisions: Annotated[
        bool, typer.Option(help="Show what decided between algorithms: a measurement or a prediction.")
    ] = False,
    memory: Annotated[bool, typer.Option(help="Show the arena's blocks.")] = False,
    bucket: Bucket = None,
    kernel: Annotated[
        str | None, typer.Option(metavar="NAME", help="Show the rendered source of this kernel row.")
    ] = None,
    ops: Ops = None,
    json: Json = False,
) -> None:
    """Show what is in a model, a package or a kernel.

    Examples: tiercast inspect seg.onnx --after fuse_activation; tiercast inspect seg.tcpkg --memory; tiercast
    inspect --kernel conv2d_f32f32_portable
    """
    if (what is None) == (kernel is None):
        raise UsageError("inspect takes one thing: a model, a package, or --kernel NAME")
    if kernel is not None:
        source = _kernel_source(kernel)
        emit({"kernel": kernel, "source": source}, json, lambda console: console.print(source, markup=False))
    elif what is not None and what.endswith(".tcpkg"):
        found = package_facts(Path(what), bucket)
        emit(found, json, lambda console: _show_package(console, found, refusals, decisions, memory))
    else:
        assert what is not None
        model = _model(what, after, target, inputs, ops)
        facts = model_facts(model)
        if after is not None:
            from tiercast.ir.print import to_text

            facts = {"after": after, **facts, "graph": to_text(model)}
        emit(facts, json, lambda console: _show_model(console, facts))


def package_facts(path: Path, bucket: int | None = None) -> dict[str, Any]:
    """Everything a package says of a shape bucket (default: the first), for people and for JSON."""
    from tiercast.cli.compile import bucket_facts
    from tiercast.lower.memory_map import memory_map
    from tiercast.package.file import read_plans
    from tiercast.tuning import DECIDED

    plans, number = read_plans(path), pick_plan(path, bucket)
    plan = plans[number]
    decided = {key.removeprefix(DECIDED): text for key, text in plan.facts.items() if key.startswith(DECIDED)}
    return {
        "package": str(path),
        "package_bytes": path.stat().st_size,
        "target": plan.target,
        "bucket": number,
        "buckets": bucket_facts(plans),
        "facts": {key: text for key, text in plan.facts.items() if not key.startswith(DECIDED)},
        "decisions": decided,
        "arena_bytes": plan.arena_bytes,
        "prepared_bytes": plan.prepared_bytes,
        "weights_bytes": len(plan.weights),
        "macs": sum(step.macs for step in plan.steps),
        "inputs": [vars(port) for port in plan.inputs],
        "outputs": [vars(port) for port in plan.outputs],
        "prepare": [step_facts(plan, index, step) for index, step in enumerate(plan.prepare)],
        "steps": [step_facts(plan, index, step) for index, step in enumerate(plan.steps)],
        "memory": [vars(block) for block in memory_map(plan)],
    }


def step_facts(plan: Plan, index: int, step: Step) -> dict[str, Any]:
    """One step: its kernel and the shapes it works on."""
    return {
        "index": index,
        "name": step.name,
        "op": step.op,
        "kernel": step.kernel,
        "inputs": [list(plan.tensors[item].dims) if item >= 0 else None for item in step.inputs],
        "outputs": [list(plan.tensors[item].dims) for item in step.outputs],
        "input_dtypes": [plan.tensors[item].dtype if item >= 0 else None for item in step.inputs],
        "output_dtypes": [plan.tensors[item].dtype for item in step.outputs],
        "macs": step.macs,
        "scratch_bytes": step.scratch_bytes,
        "refused": list(step.refused),
    }


def model_facts(model: ir.Model) -> dict[str, Any]:
    """Ports, operator counts and parameter count of a graph."""
    graph = model.graph
    return {
        "name": graph.name or "",
        "opset": graph.opset_imports.get("", 0),
        "inputs": [_port(value) for value in graph.inputs],
        "outputs": [_port(value) for value in graph.outputs],
        "nodes": len(graph),
        "operators": dict(Counter(node.op_type for node in graph).most_common()),
        "parameters": sum(
            int(value.const_value.size)
            for value in graph.initializers.values()
            if value.const_value is not None
        ),
    }


def _port(value: ir.Value) -> dict[str, Any]:
    return {"name": value.name, "dtype": str(value.dtype), "shape": [dim for dim in value.shape or ()]}


def _model(
    source: str, after: str | None, target: str, inputs: list[str] | None, ops: list[Path] | None
) -> ir.Model:
    from tiercast.custom import custom_ops, find_folders
    from tiercast.frontend import load
    from tiercast.pipeline import compile_plan

    shapes, dtypes = parse_shapes(inputs), parse_dtypes(inputs)
    with progress(f"reading {source}"):
        if after is None:
            with custom_ops(find_folders(ops)):
                return load(source, shapes, dtypes=dtypes)
        return compile_plan(source, target, shapes, until=after, dtypes=dtypes, ops=ops).model


def _kernel_source(name: str) -> str:
    from tiercast.codegen.render import render_row
    from tiercast.kernel import families

    rows = {row.name: row for family in families().values() for row in family.rows}
    if name not in rows:
        near = [other for other in rows if other.startswith(name)] or sorted(rows)
        raise UsageError(f"kernel {name!r} is unknown; kernels: {', '.join(near)}")
    return render_row(rows[name])


def _dtypes(step: Mapping[str, Any]) -> str:
    """The element types of a step, each once, in the order of its operands: "f16", "f32 > f16"."""
    ends = [dict.fromkeys(kind for kind in step[f"{end}_dtypes"] if kind) for end in ("input", "output")]
    return " > ".join(dict.fromkeys(" ".join(kinds) for kinds in ends if kinds))


def _show_model(console: Console, facts: dict[str, Any]) -> None:
    for kind in ("inputs", "outputs"):
        for port in facts[kind]:
            console.print(
                f"{kind[:-1]:7} {port['name']} {port['dtype']} {shape_text(port['shape'])}", markup=False
            )
    console.print(f"{facts['nodes']} nodes, {facts['parameters']} constant elements, opset {facts['opset']}")
    rows = table("operator", ">count")
    for name, count in facts["operators"].items():
        rows.add_row(name, str(count))
    console.print(rows)
    if "graph" in facts:
        console.print(facts["graph"], markup=False)


def _show_package(
    console: Console, found: dict[str, Any], refusals: bool, decisions: bool, memory: bool
) -> None:
    sizes = {key: bytes_text(found[f"{key}_bytes"]) for key in ("package", "weights", "arena", "prepared")}
    console.print(
        f"{found['package']}: {sizes['package']}, target {found['target']}, {len(found['steps'])} steps, "
        f"{found['macs'] / 1e6:.1f} MMAC, weights {sizes['weights']}, arena {sizes['arena']}, "
        f"prepared {sizes['prepared']}",
        markup=False,
    )
    for key, value in found["facts"].items():
        console.print(f"  {key}: {value}", markup=False)
    if len(found["buckets"]) > 1:
        from tiercast.cli.compile import show_buckets

        show_buckets(console, found["buckets"])
        console.print(f"bucket {found['bucket']}:", markup=False)
    for kind in ("inputs", "outputs"):
        for port in found[kind]:
            console.print(
                f"{kind[:-1]:7} {port['name']} {port['dtype']} {shape_text(port['dims'])}", markup=False
            )
    rows = table(">#", "step", "kernel", "inputs", "output", "dtypes", ">MMAC")
    times = [*("load " for _ in found["prepare"]), *("" for _ in found["steps"])]
    for when, step in zip(times, [*found["prepare"], *found["steps"]], strict=True):
        shapes = " ".join("-" if dims is None else shape_text(dims) for dims in step["inputs"])
        outputs = " ".join(shape_text(dims) for dims in step["outputs"])
        macs = f"{step['macs'] / 1e6:.2f}"
        rows.add_row(
            f"{when}{step['index']}", step["name"], step["kernel"], shapes, outputs, _dtypes(step), macs
        )
        if refusals:
            for line in step["refused"]:
                rows.add_row("", f"  refused {line}", "", "", "", "")
    console.print(rows)
    if decisions:
        for key, text in found["decisions"].items():
            console.print(f"{key}: {text}", markup=False)
    if memory:
        _show_memory(console, found["memory"])


def _show_memory(console: Console, blocks: list[dict[str, Any]]) -> None:
    rows = table("block", ">offset", ">bytes", ">from step", ">to step")
    for block in blocks:
        numbers = [str(block[key]) for key in ("offset_bytes", "size_bytes", "first", "last")]
        rows.add_row(block["name"], *numbers)
    console.print(rows)
