"""What commands share at the terminal: result on stdout (text or JSON), progress and errors on stderr."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tiercast.errors import TiercastError, UsageError
from tiercast.progress import listening

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        help="Fix an input's shape: NAME:1x3x256x256. TorchScript also needs element types other than f32: "
        "NAME:1x16:s64.",
        metavar="NAME:SHAPE[:DTYPE]",
    ),
]
Bucket = Annotated[
    int | None,
    typer.Option("--bucket", min=0, metavar="N", help="The shape bucket of this number; see inspect."),
]

Ops = Annotated[
    list[Path] | None,
    typer.Option(
        "--ops",
        help="Folder of your own ops (docs/adding.md); default: $TIERCAST_OPS, else [tool.tiercast] of "
        "pyproject.toml.",
        metavar="DIR",
    ),
]


def screen() -> Console:
    """The console for results; into a file or pipe its lines are wide."""
    return Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 160)


def emit(result: Mapping[str, Any], as_json: bool, show: Callable[[Console], None]) -> None:
    """Prints a command's result: the object itself as JSON, or what `show` draws."""
    if as_json:
        print(json.dumps(result, default=_plain, allow_nan=False))
    else:
        show(screen())


def emit_error(error: TiercastError, as_json: bool) -> None:
    """One error in red on stderr; with --json also as the object on stdout."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]error:[/red] {escape(str(error))}")
    if as_json:
        print(json.dumps({"error": {"kind": type(error).__name__, "message": str(error)}}))


@contextlib.contextmanager
def progress(first: str, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """A line on stderr that says what is being done, now and as the work reports it (`tiercast.progress`).

    Anything libraries print meanwhile goes to stderr too. quiet: no line.
    """
    console = Console(file=sys.stderr, highlight=False, quiet=quiet)
    with contextlib.redirect_stdout(sys.stderr), console.status(escape(first)) as status:

        def say(text: str) -> None:
            status.update(escape(text))

        with listening(say):
            yield say


def table(*columns: str) -> Table:
    """An empty table; columns whose name begins with ">" are numbers and stand right."""
    made = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        made.add_column(
            column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold"
        )
    return made


def parse_shapes(texts: Sequence[str] | None) -> dict[str, tuple[int, ...]]:
    """{"image": (1, 3, 256, 256)} from ["image:1x3x256x256"]; UsageError on another form or several sizes."""
    from tiercast.frontend import shapes

    found = shapes.parse_shapes(texts)
    if shapes.has_buckets(found):
        raise UsageError(
            f"--input {' '.join(texts or ())}: only `tiercast compile` takes several sizes; give one"
        )
    return shapes.first_shapes(found)


def parse_dtypes(texts: Sequence[str] | None) -> dict[str, str]:
    """{"ids": "s64"} from ["ids:1x16:s64"]: the element types that are given."""
    from tiercast.frontend import shapes

    return shapes.parse_dtypes(texts)


def pick_plan(package: Path, bucket: int | None, shapes: Mapping[str, Sequence[int]] | None = None) -> int:
    """Number of the plan that --bucket names, else of the one that takes these input shapes, else 0.

    UsageError when there is none such; it lists the package's buckets.
    """
    from tiercast.lower.buckets import buckets_text, find_bucket
    from tiercast.package.file import read_plans

    plans = read_plans(package)
    if bucket is None:
        return find_bucket(plans, shapes or {}, package)
    if bucket >= len(plans):
        raise UsageError(f"{package}: there is no bucket {bucket}; its buckets: {buckets_text(plans)}")
    return bucket


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
