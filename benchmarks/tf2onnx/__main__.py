"""tf2onnx's own tests with our engine in place of onnxruntime: `make tf2onnx`.

The suite comes from tf2onnx's source package, which pip fetches into `build/`; nothing of it is kept in the
repository. Writes `build/bench/tf2onnx.json` and prints a table by class and what did not pass.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

REPOSITORY = Path(__file__).resolve().parents[2]
SUITE = REPOSITORY / "build" / "tf2onnx"
RESULTS = REPOSITORY / "build" / "bench" / "tf2onnx.json"
RECURRENT = [
    "test_lstm",
    "test_gru",
    "test_stacked_lstm",
    "test_custom_rnncell",
    "test_grublock",
    "test_lstmblock",
]
MODULES = ["test_backend", *RECURRENT, "test_cond", "test_loops"]
STATUSES = ("passed", "wrong", "refused", "broken", "skipped")
# Classes that are asked for, by parts of the tests' names; the first that matches counts.
CLASSES = {
    "random, strings, sets, tables": r"random|multinomial|string|set_|hashtable|unique|ragged|sparse",
    "volumes": r"conv3d|Conv3D|pool3d|space3d|_3d",
    "quantization": r"qdq|quant",
    "convolution": r"conv|Conv",
    "pooling": r"pool",
    "images": r"resize|_pad|depth|space_to|to_space|crop|adjust|extract_image|max_suppression|as_nchw",
    "normalisation": r"norm|lrn",
    "activation": r"relu|elu|tanh|softmax|softplus|softsign|hardswish|sigmoid|erf$|clip_by",
}
ASKED = ("convolution", "pooling", "images", "normalisation", "activation", "recurrent")
app = typer.Typer(add_completion=False)


@app.command()
def main(
    suite: Annotated[
        Path | None, typer.Option(help="the tests of an unpacked tf2onnx source package")
    ] = None,
    only: Annotated[str, typer.Option(help="part of the names of the tests to run")] = "",
    modules: Annotated[str, typer.Option(help="comma-separated test files")] = ",".join(MODULES),
) -> None:
    """Runs the suite. Exits 1 when fewer than 95 % of the asked classes' tests pass."""
    folder = suite or _fetch()
    console = Console(stderr=True)
    rows: list[tuple[str, str, str, str]] = []
    with Progress(console=console) as progress:
        task = progress.add_task("tf2onnx's tests", total=len(modules.split(",")))
        for module in modules.split(","):
            progress.update(task, description=module)
            rows += [(_class(module, name), name, *rest) for name, *rest in _run(folder, module, only)]
            progress.advance(task)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1))
    out = Console()
    out.print(_table(rows))
    for kind, name, status, reason in sorted(rows):
        if status not in ("passed", "skipped"):
            out.print(f"{kind}: {name}: {status}: {reason}", markup=False, soft_wrap=True)
    found = Counter(status for kind, _, status, _ in rows if kind in ASKED and status != "skipped")
    share = found["passed"] / max(found.total(), 1)
    out.print(f"{share:.1%} of {found.total()} tests of the classes {', '.join(ASKED)} pass")
    raise typer.Exit(int(share < 0.95))


def _fetch() -> Path:
    """The folder of the suite's tests: of the pinned release, fetched and unpacked once."""
    (package,) = (pin for pin in _pins("tf") if pin.startswith("tf2onnx=="))
    wanted = [package, *_pins("tf-suite")]
    done = SUITE / "done"
    if not done.exists() or done.read_text().split() != wanted:
        shutil.rmtree(SUITE, ignore_errors=True)
        SUITE.mkdir(parents=True)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
        download = [*pip, "download", "--no-binary", ":all:", "--no-deps"]
        subprocess.run([*download, "-d", str(SUITE), package], check=True)
        helpers = [*pip, "install", "--no-deps", "--target", str(SUITE / "helpers"), *wanted[1:]]
        subprocess.run(helpers, check=True)
        with tarfile.open(next(SUITE.glob("*.tar.gz"))) as archive:
            archive.extractall(SUITE, filter="data")
        done.write_text("\n".join(wanted))
    return next(SUITE.glob("tf2onnx-*/tests"))


def _pins(extra: str) -> list[str]:
    """What pyproject.toml pins for an extra."""
    command = [sys.executable, str(REPOSITORY / "tools" / "pins.py"), extra]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def _run(folder: Path, module: str, only: str) -> list[tuple[str, str, str]]:
    """[test, status, reason] of each test of a module, run in a process of its own."""
    paths = [str(REPOSITORY), str(SUITE / "helpers"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(item for item in paths if item)}
    if module in RECURRENT:
        environment["TF_USE_LEGACY_KERAS"] = "1"
    command = [sys.executable, "-m", "benchmarks.tf2onnx.worker", str(folder), module, only]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return [(module, "broken", " ".join(done.stderr.split())[-300:])]
    return [tuple(row) for row in json.loads(lines[-1])]


def _class(module: str, name: str) -> str:
    if module in RECURRENT:
        return "recurrent"
    return next((kind for kind, words in CLASSES.items() if re.search(words, name)), "other")


def _table(rows: list[tuple[str, str, str, str]]) -> Table:
    """A row for each class; "bound": passed, but only with some inputs as constants."""
    made = Table("class", *STATUSES, "bound")
    for kind in [*ASKED, *sorted({row[0] for row in rows} - set(ASKED))]:
        counts = Counter(status for own, _, status, _ in rows if own == kind)
        bound = sum(own == kind and status == "passed" and bool(why) for own, _, status, why in rows)
        made.add_row(kind, *(str(counts[status]) for status in STATUSES), str(bound))
    return made


if __name__ == "__main__":
    app()
