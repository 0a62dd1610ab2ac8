"""What this working tree changes in the AArch64 kernels' instructions: `make bench-against BASE=main`.

Counts both, the base in a temporary worktree with a build of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.gate import document
from benchmarks.models.export_onnx import REPOSITORY
from tiercast.bench.compare import compare_results
from tiercast.bench.counted import count_kernels
from tiercast.cli.bench_kernels import show_comparison


@contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """A temporary checkout of a commit, ready to run `python -m tiercast.cli` from."""
    with tempfile.TemporaryDirectory(prefix="tiercast-against-") as folder:
        tree = Path(folder) / "tree"
        _run("git", "worktree", "add", "--quiet", "--detach", str(tree), commit)
        try:
            _write_schema(tree)
            yield tree
        finally:
            _run("git", "worktree", "remove", "--force", str(tree))


def count_in(tree: Path, op: str) -> dict[str, Any]:
    """The counts of another checkout, by its own compiler and kernels."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("TIERCAST_CACHE", None)
    arguments = ["bench", "kernels", "--target", "linux-arm64", "--json", *(["--op", op] if op else [])]
    command = [str(_python(tree)), "-m", "tiercast.cli", *arguments]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"counting in {tree} failed:\n{done.stderr[-3000:]}")
    counted: dict[str, Any] = json.loads(done.stdout)
    return counted


def main(
    base: Annotated[str, typer.Argument(help="commit or branch to compare with")] = "main",
    op: Annotated[str, typer.Option(help="only this kernel family")] = "",
) -> None:
    """Counts BASE and this working tree and prints what changed."""
    console = Console(width=160, highlight=False)
    with worktree(base) as tree:
        console.print(f"counting {base} in {tree}")
        before = count_in(tree, op)
    console.print("counting this tree")
    show_comparison(console, compare_results(before, document(count_kernels(op or None))))


def _python(tree: Path) -> Path:
    """A Python that sees the tree's sources and our packages, but no editable installation of this tree."""
    home = tree / ".venv-against"
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    asked = subprocess.run(
        [python, "-c", "import site; print(site.getsitepackages()[0])"], capture_output=True
    )
    paths = [str(tree / "compiler"), *(path for path in sys.path if Path(path).is_dir())]
    (Path(asked.stdout.decode().strip()) / "tree.pth").write_text("\n".join(paths) + "\n")
    return python


def _write_schema(tree: Path) -> None:
    """What the build makes of the package format for Python."""
    home = tree / "compiler" / "tiercast" / "package"
    schema = tree / "runtime" / "package" / "package.fbs"
    _run("flatc", "--python", "--gen-object-api", "--gen-onefile", "-o", str(home), str(schema))
    (home / "package_generated.py").rename(home / "schema.py")


def _run(*command: str) -> None:
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"`{' '.join(command)}` failed: {done.stderr.strip()}")


if __name__ == "__main__":
    typer.run(main)
