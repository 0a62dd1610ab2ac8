"""How far every reference model is from PyTorch, on this machine and on ARM: `make bench-parity`.

Prints the table, writes `build/bench/parity.json`, and exits 1 where an output is further than the bound or a
target failed.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.models import zoo
from benchmarks.models.export_onnx import CACHE, REPOSITORY, onnx_path
from benchmarks.models.reference import write_reference
from tiercast.peers.subject import max_relative_error

BOUND = 1e-4
SMALL = ("mobilenet_v2", "mobilenet_v3_small", "landmark", "face_embed", "gesture_gru", "gesture_lstm")
MODELS_OF = {"host": tuple(zoo.names()), "linux-arm64": tuple(zoo.names()), "linux-armv7": SMALL}
OUTPUT = REPOSITORY / "build" / "bench" / "parity.json"


@dataclass(frozen=True)
class Parity:
    """One model on one target: the largest relative error of each output, or why there is none."""

    errors: dict[str, float]
    failed: str
    seconds: float

    @property
    def within(self) -> bool:
        """True where every output is there and within the bound."""
        return not self.failed and all(error <= BOUND for error in self.errors.values())


def compare(model: str, target: str) -> Parity:
    """Compiles `model` for `target`, runs it there (or under its emulator), compares with PyTorch."""
    import tiercast
    from tiercast.errors import TiercastError

    begin = time.monotonic()
    inputs, expected = write_reference(model)
    package = CACHE / model / "tiercast" / f"{target}.tcpkg"
    package.parent.mkdir(parents=True, exist_ok=True)
    try:
        tiercast.compile(onnx_path(model), target=target, output=package)
        got = _run(package, inputs, target)
    except TiercastError as error:
        return Parity({}, str(error), round(time.monotonic() - begin, 1))
    errors = {name: max_relative_error(got[name], value) for name, value in expected.items()}
    return Parity(errors, "", round(time.monotonic() - begin, 1))


def _run(package: Any, inputs: dict[str, Any], target: str) -> dict[str, Any]:
    import tiercast

    if target == "host":
        return tiercast.Session(package, threads=1).run(inputs)
    return tiercast.run_on_target(package, inputs, target)


def table(results: dict[str, dict[str, Parity]]) -> Table:
    """Models by targets; `not run` where a target does not take the model."""
    made = Table("model", "output", title=f"max relative error vs PyTorch, f32; bound {BOUND:g}")
    for target in MODELS_OF:
        made.add_column(target, justify="right")
    for model, by_target in results.items():
        for output in zoo.ENTRIES[model].outputs:
            made.add_row(model, output, *[_show(by_target.get(target), output) for target in MODELS_OF])
    return made


def _show(parity: Parity | None, output: str) -> str:
    if parity is None:
        return "not run"
    if parity.failed:
        return "failed"
    error = parity.errors[output]
    return f"{error:.1e}" if error <= BOUND else f"[red]{error:.1e}[/]"


def main(
    models: Annotated[str, typer.Option(help="comma-separated; all without")] = "",
    targets: Annotated[str, typer.Option(help="comma-separated")] = ",".join(MODELS_OF),
) -> None:
    """Compares every reference model with PyTorch on every target."""
    console = Console()
    results: dict[str, dict[str, Parity]] = {}
    for model in models.split(",") if models else zoo.names():
        results[model] = {}
        for target in targets.split(","):
            if model not in MODELS_OF[target]:
                continue
            parity = results[model][target] = compare(model, target)
            worst = max(parity.errors.values(), default=float("nan"))
            console.print(
                f"{model} on {target}: {parity.failed or f'{worst:.1e}'} ({parity.seconds} s)", markup=False
            )
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    document = {model: {t: asdict(parity) for t, parity in row.items()} for model, row in results.items()}
    OUTPUT.write_text(json.dumps({"bound": BOUND, "models": document}, indent=1))
    console.print(table(results))
    beyond = [f"{m} on {t}" for m, row in results.items() for t, parity in row.items() if not parity.within]
    if beyond:
        console.print(f"beyond the bound or failed: {', '.join(beyond)}")
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
