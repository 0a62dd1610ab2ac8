"""The contract that a package keeps as a fact, measured again."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tiercast.errors import UsageError
from tiercast.package.file import read_package
from tiercast.pipeline import compile
from tiercast.quantize.contract import FACT
from tiercast.quantize.costs import measure_packages
from tiercast.quantize.graph import float_graph
from tiercast.quantize.metrics import find_metric, parse_limit
from tiercast.quantize.ptq import samples_for
from tiercast.rig import run_on_target
from tiercast.session import Session


@dataclass(frozen=True)
class Remeasured:
    """What a package does now on evaluation data beside what its contract says.

    f32_cost, cost: of a run on the package's target, told and not judged: other machines are faster or
    slower. same_data: whether it is the data of the contract. drop: as the contract counts it; ok: whether it
    keeps the contract's limit, or where it had none, whether it is no worse than recorded (by a hundredth of
    the recorded value).
    """

    package: str
    metric: str
    recorded: dict[str, Any]
    f32: float
    value: float
    drop: float
    unit: str
    f32_cost: float
    cost: float
    size_ratio: float
    same_data: bool
    ok: bool

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def remeasure(
    source: Any,
    package: Path,
    evaluation: Path,
    metric: str | None = None,
    pixels: tuple[float, float] = (0.0, 1.0),
    cpu: str | None = None,
    **options: Any,
) -> Remeasured:
    """Measures a package's contract again: the metric of the float model `source` and of the package on its
    target.

    metric: another than the contract's, or where the user's function lies now.
    UsageError where the package has no contract, or was made of a model with other inputs.
    """
    plan = read_package(package)
    if FACT not in plan.facts:
        raise UsageError(f"{package}: it was made under no contract (`tiercast quantize --max-drop ...`)")
    recorded: dict[str, Any] = json.loads(plan.facts[FACT])
    shapes = {port.name: tuple(port.dims) for port in plan.inputs}
    model = float_graph(source, shapes, **options)
    data = samples_for(model, evaluation, pixels)
    with tempfile.TemporaryDirectory(prefix="tiercast-contract-") as folder:
        exact = Session(compile(model, "host", Path(folder) / "f32.tcpkg")).run
        judged = find_metric(metric or recorded["metric"], data, [exact(batch) for batch in data.batches])
        base = judged.evaluate(exact)
        f32 = compile(model, plan.target, Path(folder) / "f32.target.tcpkg")
        costs = measure_packages([f32, package], plan.target, cpu)
        size_ratio = package.stat().st_size / f32.stat().st_size
    if plan.target == "host" and cpu is None:
        value = judged.evaluate(Session(package).run)
    else:
        value = judged.evaluate(lambda inputs: run_on_target(package, dict(inputs), plan.target, cpu))
    limit = parse_limit(recorded["max_drop"]) if recorded["max_drop"] else None
    drop = judged.drop(base, value, limit)
    kept = drop <= limit.value if limit is not None else value >= recorded["s8"] - abs(recorded["s8"]) / 100
    return Remeasured(
        str(package), judged.name, recorded, base, value, drop, costs[0].unit, costs[0].total, costs[1].total,
        size_ratio, data.sha256 == recorded["sha256"], kept,
    )  # fmt: skip
