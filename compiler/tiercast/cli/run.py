"""`tiercast run`: a package on arrays or pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from tiercast.cli.output import Bucket, Json, emit, pick_plan, progress, table
from tiercast.errors import PackageError, UsageError
from tiercast.text import shape_text

if TYPE_CHECKING:
    import numpy as np

    from tiercast.lower.plan import Plan


def command(
    package: Annotated[Path, typer.Argument(help="Package to run.")],
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            help="An input's .npy, .npz or picture; FILE.npz alone gives several.",
            metavar="NAME=FILE",
        ),
    ] = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", "-o", help="Write each output here as .npy.")
    ] = None,
    pictures: Annotated[
        bool, typer.Option("--pictures", help="Write outputs that are pictures (0..1) as .png too.")
    ] = False,
    pixels: Annotated[
        str, typer.Option(help="What 0 and 255 of a picture become in an f32 input.", metavar="LOW,HIGH")
    ] = "0,1",
    random_seed: Annotated[int, typer.Option(help="Seed of the inputs that are not given.")] = 0,
    threads: Annotated[
        int, typer.Option(min=0, max=64, help="0: as many as the package's target asks for.")
    ] = 1,
    cores: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="all, big or little; default: what the package's target asks for."),
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="Run as this target; default: the package's.")
    ] = None,
    cpu: Annotated[
        str | None, typer.Option(help="CPU model of the target's emulator, say cortex-a53.")
    ] = None,
    bucket: Bucket = None,
    json: Json = False,
) -> None:
    """Run PACKAGE; inputs that are not given are random. Of several shape buckets the one that fits runs.

    Example: tiercast run seg.tcpkg --input image=photo.jpg --pixels=-1,1 --output-dir out --pictures
    """
    from tiercast.package.file import read_plans
    from tiercast.parity import complete_inputs

    with progress(f"running {package}"):
        plans = read_plans(package)
        _refuse_unclear_pictures(package, plans, bucket, inputs or ())
        given = read_inputs(plans[pick_plan(package, bucket)], inputs or (), parse_pixels(pixels))
        plan = plans[pick_plan(package, bucket, {name: array.shape for name, array in given.items()})]
        arrays = complete_inputs(plan, given, random_seed)
        outputs = run_anywhere(package, arrays, target or plan.target, cpu, threads, cores)
        files = _write(outputs, output_dir, pictures) if output_dir is not None else []
    result = {
        "package": str(package),
        "target": target or plan.target,
        "cpu": cpu,
        "outputs": [_facts(name, array) for name, array in outputs.items()],
        "files": [str(file) for file in files],
    }
    emit(result, json, lambda console: _show(console, result))


def read_inputs(plan: Plan, requests: Sequence[str], pixels: tuple[float, float]) -> dict[str, np.ndarray]:
    """Arrays by name from NAME=FILE and FILE.npz words.

    UsageError for a name the plan does not have or a file that can't serve.
    """
    from tiercast.inputs import read_archive, read_input

    ports = {port.name: port for port in plan.inputs}
    arrays: dict[str, np.ndarray] = {}
    for text in requests:
        name, equals, file = text.rpartition("=")
        if not equals and text.endswith(".npz"):
            arrays.update(read_archive(Path(text)))
        elif not equals:
            raise UsageError(f"--input {text!r} is neither NAME=FILE nor FILE.npz")
        elif name not in ports:
            raise UsageError(f"the package has no input {name!r}; its inputs: {', '.join(ports) or 'none'}")
        else:
            arrays[name] = read_input(Path(file), ports[name], pixels)
    return arrays


def _refuse_unclear_pictures(
    package: Path, plans: Sequence[Plan], bucket: int | None, requests: Sequence[str]
) -> None:
    """A picture is resized to the input, so with several buckets it does not say which one is meant."""
    from tiercast.inputs import PICTURES
    from tiercast.lower.buckets import buckets_text

    pictures = [text for text in requests if text.lower().endswith(PICTURES)]
    if pictures and len(plans) > 1 and bucket is None:
        raise UsageError(
            f"--input {pictures[0]}: a picture fits every bucket of {package}; say which with --bucket: "
            f"{buckets_text(plans)}"
        )


def run_anywhere(
    package: Path,
    arrays: dict[str, np.ndarray],
    target: str,
    cpu: str | None,
    threads: int,
    cores: str | None = None,
) -> dict[str, np.ndarray]:
    """Outputs by name, from this process for the host and from the target's own runtime otherwise."""
    if target == "host" and cpu is None:
        from tiercast.session import Session

        return Session(package, threads, cores=cores).run(arrays)
    from tiercast.rig import run_on_target

    return run_on_target(package, arrays, target, cpu, threads, cores)


def parse_pixels(text: str) -> tuple[float, float]:
    """(-1.0, 1.0) from "-1,1"; UsageError for anything else."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--pixels {text!r} is not LOW,HIGH, for example -1,1") from None
    return low, high


def _write(outputs: dict[str, np.ndarray], folder: Path, pictures: bool) -> list[Path]:
    import numpy as np

    from tiercast.inputs import to_picture, write_picture

    files: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in outputs.items():
            stem = folder / name.replace("/", "_")
            np.save(f"{stem}.npy", array)
            files.append(Path(f"{stem}.npy"))
            picture = to_picture(array) if pictures else None
            if picture is not None:
                write_picture(Path(f"{stem}.png"), picture)
                files.append(Path(f"{stem}.png"))
    except OSError as error:
        raise PackageError(
            f"can't write into {folder}: {error.strerror or error}; choose a writable --output-dir"
        ) from error
    return files


def _facts(name: str, array: np.ndarray) -> dict[str, Any]:
    import numpy as np

    values = array.astype(np.float64)
    finite = values[np.isfinite(values)]
    found: dict[str, Any] = {"name": name, "dtype": str(array.dtype), "shape": list(array.shape)}
    found["nonfinite"] = int(values.size - finite.size)
    for key, reduce in (("min", np.min), ("mean", np.mean), ("max", np.max)):
        found[key] = float(reduce(finite)) if finite.size else None
    return found


def _show(console: Console, result: dict[str, Any]) -> None:
    rows = table("output", "dtype", "shape", ">min", ">mean", ">max")
    for item in result["outputs"]:
        numbers = ["-" if item[key] is None else f"{item[key]:.6g}" for key in ("min", "mean", "max")]
        rows.add_row(item["name"], item["dtype"], shape_text(item["shape"]), *numbers)
    console.print(rows)
    for file in result["files"]:
        console.print(f"wrote {file}", markup=False)
