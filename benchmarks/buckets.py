"""One package of shape buckets beside a package per shape: python -m benchmarks.buckets [--sizes 256,512].

Exports reference models that take any height and width with both open, compiles them for every pair of the
sizes together and alone, and prints bytes of packages, constants and memory.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tiercast.lower.buckets import measure_sharing
from tiercast.package.file import write_package
from tiercast.pipeline import compile_buckets
from tiercast.text import bytes_text

MODELS = ("portrait_seg", "cartoon", "stories_seg_256")


def export(name: str, folder: Path) -> Path:
    """The model as an ONNX file whose last two dimensions of the first input are open."""
    import torch

    from .models import zoo

    module, inputs = zoo.build(name)
    dims = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            tuple(inputs.values()),
            dynamo=True,
            opset_version=23,
            verbose=False,
            input_names=list(inputs),
            dynamic_shapes=tuple(dims if index == 0 else {} for index in range(len(inputs))),
        )
    assert program is not None
    path = folder / f"{name}.onnx"
    program.save(path, external_data=False)
    return path


def compare(name: str, sizes: Sequence[int], folder: Path) -> tuple[str, ...]:
    """A row of the table: the package of all buckets, and the sum of the packages of one each."""
    from .models import zoo

    model = export(name, folder)
    port, example = next(iter(zoo.build(name)[1].items()))
    lead = tuple(example.shape[:2])
    together = [item.plan for item in compile_buckets(str(model), inputs={port: (*lead, sizes, sizes)})]
    alone = [
        compile_buckets(str(model), inputs={port: (*lead, height, width)})[0].plan
        for height, width in itertools.product(sizes, sizes)
    ]
    one = write_package(together, folder / "one.tcpkg").stat().st_size
    several = sum(write_package(plan, folder / "x.tcpkg").stat().st_size for plan in alone)
    sharing = measure_sharing(together)
    return (
        name,
        str(len(together)),
        bytes_text(one),
        bytes_text(several),
        f"{several / one:.2f}",
        f"{sum(sharing.shared_bytes) / sum(sharing.own_bytes):.1%}",
        bytes_text(together[0].prepared_bytes),
        bytes_text(sum(plan.prepared_bytes for plan in alone)),
        bytes_text(max(plan.arena_bytes for plan in together)),
        bytes_text(sum(plan.arena_bytes for plan in alone)),
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="256,512", help="heights and widths")
    parser.add_argument("models", nargs="*", default=MODELS)
    arguments = parser.parse_args()
    sizes = tuple(int(size) for size in arguments.sizes.split(","))
    table = Table(
        "model",
        "buckets",
        "one package",
        "apart",
        "x",
        "constants shared",
        "prepared",
        "apart",
        "arena",
        "apart",
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.models:
            table.add_row(*compare(name, sizes, Path(folder)))
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
