"""`tiercast build`: a target's runtime and kernel library."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from tiercast.cli.output import Json, emit, progress
from tiercast.errors import ToolchainError
from tiercast.text import bytes_text

if TYPE_CHECKING:
    from tiercast.extras import Extras

_LIBRARIES = {"runtime_bytes": "libtiercast_core.so", "full_bytes": "libtiercast_full.so"}
_PRODUCTS = ("tiercast-run", *_LIBRARIES.values())


def command(
    target: Annotated[str, typer.Option("--target", "-t", help="See `tiercast targets`.")] = "host",
    packages: Annotated[
        list[Path] | None,
        typer.Option("--for", help="Only the kernels these packages call (a selected library)."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Copy what was built and the C headers here.")
    ] = None,
    json: Json = False,
) -> None:
    """Build the runtime and kernel library of a target: full, or selected for packages.

    Examples: tiercast build --target linux-arm64 -o arm64; tiercast build --target linux-arm64 --for
    seg.tcpkg
    """
    from tiercast.rig import called_kernels, extras_of

    extra = extras_of(packages, target) if packages else None
    only = called_kernels(packages, extra) if packages else None
    with progress(f"building {target}") as say:
        folder, sizes = build_library(target, only, lambda line: say(line[:100]), extra)
        files = _copy(folder, output) if output is not None else [folder / name for name in _PRODUCTS]
    result = {
        "target": target,
        **sizes,
        "selected": None if only is None else sorted(only),
        "extra_kernels": [] if extra is None else [row.name for row in extra.rows],
        "files": [str(file) for file in files],
    }
    emit(result, json, lambda console: _show(console, result))


def build_library(
    target: str,
    only: frozenset[str] | None = None,
    say: Callable[[str], None] | None = None,
    extra: Extras | None = None,
) -> tuple[Path, dict[str, int]]:
    """Builds a target's programs and shared libraries; returns the build folder and the stripped sizes.

    only: the kernel rows of a selected library, which has a build folder of its own.
    say: hears the build's lines. extra: an extra kernel library that is linked in.
    The sizes are `runtime_bytes` (the runtime alone) and `full_bytes` (with its kernels).
    Raises ToolchainError when a program is missing or the build fails.
    """
    from tiercast.codegen.build import build, default_folder
    from tiercast.target import find_target

    folder = default_folder(find_target(target))
    if only is not None:
        folder = folder.with_name(f"{folder.name}-selected")
    build(target, folder, only, ("tiercast-run", "tiercast_core", "tiercast_full"), say, extra=extra)
    return folder, {name: (folder / file).stat().st_size for name, file in _LIBRARIES.items()}


def _copy(folder: Path, output: Path) -> list[Path]:
    from tiercast.paths import room

    try:
        output.mkdir(parents=True, exist_ok=True)
        files = [Path(shutil.copy2(folder / name, output / name)) for name in _PRODUCTS]
        headers = output / "include"
        shutil.copytree(room("runtime") / "include", headers, dirs_exist_ok=True)
    except OSError as error:
        raise ToolchainError(
            f"can't write into {output}: {error.strerror or error}; choose a writable --output"
        ) from error
    return [*files, headers]


def _show(console: Console, result: dict[str, Any]) -> None:
    kind = (
        "every kernel"
        if result["selected"] is None
        else f"{len(result['selected'])} selected kernels and their fallbacks"
    )
    runtime, full = bytes_text(result["runtime_bytes"]), bytes_text(result["full_bytes"])
    console.print(f"{result['target']}: runtime {runtime}, with {kind} {full} (stripped)")
    if result["extra_kernels"]:
        console.print(f"  with the extra kernels {', '.join(result['extra_kernels'])}", markup=False)
    for file in result["files"]:
        console.print(f"  {file}", markup=False)
