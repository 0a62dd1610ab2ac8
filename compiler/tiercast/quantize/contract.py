"""Partial s8 under a contract: measures, solves, verifies end to end, and falls back along the frontier."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import onnx_ir as ir

from tiercast.custom import custom_ops, find_folders
from tiercast.errors import ContractError, UsageError
from tiercast.ir.provenance import note
from tiercast.progress import report_progress
from tiercast.quantize.agreement import Contract, Verified
from tiercast.quantize.batches import Batch, Data
from tiercast.quantize.bench import Bench
from tiercast.quantize.borders import with_border_costs
from tiercast.quantize.costs import Costs, measure_packages, unit_of
from tiercast.quantize.graph import float_graph
from tiercast.quantize.layers import find_borders, join_units, take_costs
from tiercast.quantize.metrics import Run, find_metric, parse_limit
from tiercast.quantize.ptq import (
    DEFAULT_METHOD,
    Calibrated,
    Quantized,
    calibrate,
    quantize_all,
    samples_for,
    write_quantized,
)
from tiercast.quantize.search import search, weight_bytes
from tiercast.quantize.sensitivity import measure_noise
from tiercast.quantize.solve import Problem
from tiercast.quantize.terms import Terms, parse_cost

FACT = "quantization contract"


def under_contract(
    source: Any,
    calibration: str | PathLike[str] | Sequence[Batch],
    output: str | PathLike[str] | None = None,
    inputs: Mapping[str, Sequence[int]] | None = None,
    *,
    max_drop: str | None = None,
    max_latency: str | None = None,
    size_ratio: float | None = None,
    metric: str | Callable[[Run], float] = "sqnr",
    evaluation: str | PathLike[str] | Sequence[Batch] | None = None,
    target: str = "host",
    cpu: str | None = None,
    seconds: float = 2.0,
    method: str = DEFAULT_METHOD,
    equalize: bool | None = None,
    correct_bias: bool | None = None,
    pixels: tuple[float, float] = (0.0, 1.0),
    **options: Any,
) -> Contract:
    """Quantizes as much of a model as a contract allows, and writes it as an ONNX file to `output`, if given
    and met.

    max_drop: "0.5%" of the float model's metric, or "0.003" in its units. max_latency: "8ms", or "0.6x" of
    the float package's. size_ratio: of its bytes. metric: see `metrics.find_metric`. evaluation: what the
    metric runs on, read like `calibration`; default: that. target, cpu: what costs are measured on
    (`costs.py`); seconds: of timing for each package. Others: as `post_training` takes them. The contract's
    `best` is None, and nothing is written, where the terms can't be met; `required` raises then.
    """
    drop = None if max_drop is None else parse_limit(max_drop)
    cost = None if max_latency is None else parse_cost(max_latency)
    terms = Terms(drop, cost, size_ratio)
    with custom_ops(find_folders(options.get("ops"))):
        model = float_graph(source, inputs, **options)
        data = samples_for(model, calibration, pixels)
        judged = None if evaluation is None else samples_for(model, evaluation, pixels)
        calibrated = calibrate(model, data, method, equalize, correct_bias)
        done = fulfil(
            calibrated,
            terms,
            model,
            metric=metric,
            evaluation=judged,
            target=target,
            cpu=cpu,
            seconds=seconds,
            ops=options.get("ops"),
        )
    if output is not None and done.best is not None:
        done.best.quantized.path = write_quantized(done.best.quantized.model, Path(output))
    return done


def fulfil(
    calibrated: Calibrated,
    terms: Terms,
    float_model: ir.Model,
    *,
    metric: str | Callable[[Run], float] = "sqnr",
    evaluation: Data | None = None,
    target: str = "host",
    cpu: str | None = None,
    seconds: float = 2.0,
    ops: Any = None,
) -> Contract:
    """Finds which layers run on integers so that the terms are kept, and checks it on real packages.

    With a limit on the drop it is the cheapest such choice, else the least noisy one that keeps the others.
    `best` is None where there is none. float_model: the graph that was calibrated, before anything was
    changed. evaluation: what the metric runs on; default: the calibration data. seconds: of timing per
    package on the host. Raises UsageError for terms, metrics or targets that can't be measured here.
    """
    if not terms.any:
        raise UsageError("a contract needs a limit: --max-drop, --max-latency or --size-ratio")
    unit = unit_of(target)
    data = evaluation or calibrated.data
    with tempfile.TemporaryDirectory(prefix="tiercast-contract-") as folder:
        bench = Bench(Path(folder), target, cpu, seconds, ops)
        f32 = bench.package(float_model, "f32")
        exact = [bench.run(float_model, "f32")(batch) for batch in data.batches]
        chosen = find_metric(metric, data, exact)
        base = chosen.evaluate(bench.run(float_model, "f32"))
        full = quantize_all(calibrated)
        s8 = bench.package(full.model, "s8")
        report_progress(f"measuring steps on {target}")
        costs = measure_packages([f32, s8], target, cpu, seconds)
        problem = _problem(calibrated, full, costs, target, cpu, seconds)
        done = Contract(
            calibrated, terms, chosen, data, target, cpu, unit, problem, full, base, f32.stat().st_size,
            costs[0].total, costs[1].total,
        )  # fmt: skip
        done.frontier = problem.frontier(weight_bytes(done, s8.stat().st_size))
        search(done, bench)
        if done.best is not None:
            note(done.best.quantized.model, {FACT: json.dumps(summary(done), sort_keys=True)})
        return done


def required(done: Contract) -> Verified:
    """What was taken; ContractError, with the best that there is, when the terms can't be met."""
    if done.best is None:
        raise ContractError(done.refusal)
    return done.best


def summary(done: Contract) -> dict[str, Any]:
    """What a package keeps of a contract, and `verify` measures again."""
    best = required(done)
    return {
        "terms": str(done.terms),
        "max_drop": done.terms.max_drop.text if done.terms.max_drop else None,
        "metric": done.metric.name,
        "f32": _rounded(done.f32_value),
        "s8": _rounded(best.value),
        "drop": _rounded(best.drop),
        "target": done.target,
        "unit": done.unit,
        "f32_cost": _rounded(best.f32_cost),
        "cost": _rounded(best.cost),
        "size_ratio": _rounded(best.size / done.f32_size),
        "samples": len(done.evaluation.batches),
        "source": done.evaluation.source,
        "sha256": done.evaluation.sha256,
        "layers": f"{sum(best.choice.integers)} of {len(done.layers)}",
        "f32_layers": [layer.name for layer in done.kept],
    }


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _problem(
    calibrated: Calibrated,
    full: Quantized,
    costs: Sequence[Costs],
    target: str,
    cpu: str | None,
    seconds: float,
) -> Problem:
    layers = join_units(calibrated.units, full.chosen, *costs)
    take_costs(layers, *costs)
    measure_noise(calibrated, layers)
    borders = with_border_costs(find_borders(layers), costs[1], target, cpu, min(seconds, 0.5))
    beside = max(costs[0].total - sum(layer.f32_cost for layer in layers), 0.0)
    return Problem(layers, borders, beside)
