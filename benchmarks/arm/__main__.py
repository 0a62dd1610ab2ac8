"""AArch64 instructions of one inference, ours beside the peers, under qemu: `make bench-arm`.

Prints a table per mode and writes `build/bench/arm.json`. Modes: f32 on ARMv8.0 and on ARMv8.2, and f16 on
ARMv8.2 beside the peers that have it.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.models import zoo
from benchmarks.models.export_onnx import REPOSITORY, onnx_path
from benchmarks.models.reference import subject
from benchmarks.peers.bench import PEERS as PEERS_PYTHON
from tiercast.counting import TARGET, count_instructions, count_package
from tiercast.errors import TiercastError
from tiercast.peers.convert import ensure as ensure_conversion
from tiercast.peers.environment import Environment

from . import prefix

OUTPUT = REPOSITORY / "build" / "bench" / "arm.json"
PEERS = ("ncnn", "mnn", "onnxruntime")
MAX_ERROR = {"f32": 1e-3, "f16": 2e-2}
TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class Mode:
    """How one table is made: qemu's CPU model, the arithmetic, our target, and the peers that have it."""

    cpu: str
    precision: str
    target: str = TARGET
    peers: tuple[str, ...] = PEERS


MODES = {
    "v8.0-f32": Mode("cortex-a53", "f32"),
    "v8.2-f32": Mode("cortex-a76", "f32"),
    "v8.2-f16": Mode("cortex-a76", "f16", "linux-arm64-v82", ("ncnn", "mnn")),
}


@dataclass(frozen=True)
class Cell:
    """One engine on one model: millions of instructions and MACs, FMA share, error; or why not."""

    instructions: float = 0.0
    macs: float = 0.0
    fma_share: float = 0.0
    error: float | None = None
    failed: str = ""


def count_peer(model: str, engine: str, mode: Mode) -> Cell:
    """A peer's count, from the cache where nothing that decides it has changed."""
    found = subject(model)
    conversion = ensure_conversion(found, engine, Environment(PEERS_PYTHON))
    if conversion.error:
        return Cell(failed=conversion.error)
    key = hashlib.sha256(
        repr((conversion.key, prefix.wheels(), mode.cpu, mode.precision)).encode()
    ).hexdigest()
    cache = prefix.ROOT / "counts" / f"{model}-{engine}-{mode.cpu}-{mode.precision}.json"
    if cache.exists():
        stored = json.loads(cache.read_text())
        if stored["key"] == key:
            return Cell(**stored["cell"])
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        lend = REPOSITORY / "compiler" / "tiercast" / "peers" / "lend.py"
        guest = [str(lend), "benchmarks.arm.guest", engine, str(found.folder), mode.precision, str(answer)]
        try:
            total = count_instructions(
                [str(prefix.PYTHON), *guest], mode.cpu, prefix=prefix.PREFIX,
                environment=prefix.environment(), timeout_s=TIMEOUT_S,
            ).total  # fmt: skip
            error = json.loads(answer.read_text())["error"]
            cell = Cell(total.instructions / 1e6, total.macs / 1e6, total.fma_share, error)
        except TiercastError as failure:
            cell = Cell(failed=str(failure).strip().splitlines()[-1])
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_text(json.dumps({"key": key, "cell": asdict(cell)}))
    return cell


def count_ours(model: str, mode: Mode) -> tuple[Cell, list[dict[str, Any]]]:
    """Ours, and its steps by cost: name, kernel, instructions and multiply-accumulates."""
    import tiercast

    with tempfile.TemporaryDirectory() as folder:
        package = tiercast.compile(
            onnx_path(model), target=mode.target, output=Path(folder) / "model.tcpkg", **_options(mode)
        )
        steps, counts = count_package(Path(package), mode.cpu, TIMEOUT_S)
    rows = [
        {"name": s.name, "kernel": s.kernel, "instructions": s.counted.instructions, "macs": s.macs}
        for s in sorted(steps, key=lambda step: -step.counted.instructions)
    ]
    total = counts.total
    return Cell(total.instructions / 1e6, total.macs / 1e6, total.fma_share), rows


def _options(mode: Mode) -> dict[str, Any]:
    return {} if mode.precision == "f32" else {"precision": mode.precision}


def ratio(ours: Cell, peer: Cell, mode: Mode) -> float | None:
    """Ours / the peer's instructions; None where the peer does not run or answers wrong."""
    if peer.failed or peer.error is None or peer.error > MAX_ERROR[mode.precision]:
        return None
    return ours.instructions / peer.instructions


def table(name: str, rows: dict[str, dict[str, Cell]]) -> Table:
    """Models by engines: millions of instructions, and ours over each peer's."""
    mode = MODES[name]
    made = Table("model", title=f"{name}: M instructions of one inference on {mode.cpu}, one thread")
    for column in (
        "tiercast",
        "FMA share",
        *[part for peer in mode.peers for part in (peer, f"ours/{peer}")],
    ):
        made.add_column(column, justify="right")
    for model, cells in rows.items():
        ours = cells["tiercast"]
        shown = [f"{ours.instructions:.1f}", f"{ours.fma_share:.0%}"]
        for peer in mode.peers:
            found = ratio(ours, cells[peer], mode)
            wrong = "failed" if cells[peer].failed else f"error {cells[peer].error:.0e}"
            shown += [f"{cells[peer].instructions:.1f}", f"{found:.2f}" if found else wrong]
        made.add_row(model, *shown)
    return made


def main(
    models: Annotated[str, typer.Option(help="comma-separated; all without")] = "",
    modes: Annotated[str, typer.Option(help="comma-separated")] = ",".join(MODES),
) -> None:
    """Counts every engine on every model in every mode; heavy models take minutes each the first time."""
    console = Console(width=150)
    prefix.ensure()
    document: dict[str, Any] = {}
    for name in modes.split(","):
        rows: dict[str, dict[str, Cell]] = {}
        document[name] = {"cpu": MODES[name].cpu, "models": {}}
        for model in models.split(",") if models else zoo.names():
            console.print(f"{name}: {model}", style="dim")
            ours, steps = count_ours(model, MODES[name])
            rows[model] = {"tiercast": ours}
            rows[model] |= {peer: count_peer(model, peer, MODES[name]) for peer in MODES[name].peers}
            document[name]["models"][model] = {
                "engines": {engine: asdict(cell) for engine, cell in rows[model].items()}, "steps": steps,
            }  # fmt: skip
        console.print(table(name, rows))
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    typer.run(main)
