"""The evidence of a contract: a table of layers and a Pareto picture, as one HTML page and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiercast.package.file import write_atomically
from tiercast.page import page_templates
from tiercast.quantize.agreement import Contract, Verified
from tiercast.quantize.measure import decibels
from tiercast.text import bytes_text

_WIDTH, _HEIGHT, _MARGIN = 760.0, 300.0, 46.0  # of the picture, in its units


def contract_facts(done: Contract) -> dict[str, Any]:
    """Everything that was measured and decided, for JSON. Noise as signal-to-noise ratios in dB."""
    return {
        "terms": str(done.terms),
        "metric": done.metric.name,
        "evaluation": {
            "source": done.evaluation.source,
            "samples": len(done.evaluation.batches),
            "sha256": done.evaluation.sha256,
        },
        "target": done.target,
        "cpu": done.cpu,
        "unit": done.unit,
        "f32": {"value": done.f32_value, "cost": done.f32_total, "bytes": done.f32_size},
        "all_s8_cost": done.s8_total,
        "layers": [layer_facts(done, at) for at in range(len(done.layers))],
        "borders_cost": None if done.best is None else done.problem.border_cost(done.best.choice.integers),
        "frontier": [
            {"layers": sum(item.integers), "cost": item.cost, "sqnr_db": decibels(item.noise)}
            for item in done.frontier
        ],
        "verified": [verified_facts(done, item) for item in done.tried],
        "taken": None if done.best is None else verified_facts(done, done.best),
        "f32_layers": [layer.name for layer in done.kept],
        "refusal": done.refusal,
    }


def layer_facts(done: Contract, at: int) -> dict[str, Any]:
    """One layer: what it is, costs, noise, and what was decided for which reason."""
    layer = done.layers[at]
    taken = done.best is not None and done.best.choice.integers[at]
    return {
        "name": layer.name,
        "units": layer.names,
        "operators": [unit.operator for unit in layer.units],
        "weights": layer.weights,
        "f32_cost": layer.f32_cost,
        "s8_cost": layer.s8_cost,
        "sqnr_db": decibels(layer.noise),
        "precision": "s8" if taken else "f32",
        "reason": "" if taken else _reason(done, at),
    }


def verified_facts(done: Contract, item: Verified) -> dict[str, Any]:
    """One choice that was compiled and measured end to end."""
    return {
        "layers": sum(item.choice.integers),
        "value": item.value,
        "drop": item.drop,
        "cost": item.cost,
        "f32_cost": item.f32_cost,
        "speedup": item.f32_cost / item.cost if item.cost else None,
        "bytes": item.size,
        "size_ratio": item.size / done.f32_size,
        "predicted_cost": item.choice.cost,
        "predicted_sqnr_db": decibels(item.choice.noise),
        "taken": item is done.best,
    }


def write_evidence(path: Path, done: Contract, model: str) -> Path:
    """Writes the page whole or not at all; PackageError when it can't be written. model: how it is called."""
    return write_atomically(path, render_evidence(done, model).encode())


def render_evidence(done: Contract, model: str) -> str:
    """The page's HTML; it refers to nothing outside itself."""
    environment = page_templates(__file__)
    facts = contract_facts(done)
    return environment.get_template("evidence.html.j2").render(
        model=model,
        facts=facts,
        calibration=done.calibrated,
        widest=max([1e-9, *(max(layer.f32_cost, layer.s8_cost) for layer in done.layers)]),
        picture=_picture(facts),
        bytes=bytes_text,
        cost=lambda value: cost_text(value, done.unit),
    )


def cost_text(value: float, unit: str) -> str:
    """A cost as people read it: "812 us", "2.4 ms", "13.1 M instructions"."""
    if unit == "us":
        return f"{value:.3g} us" if value < 1000 else f"{value / 1e3:.3g} ms"
    return f"{value / 1e6:.4g} M {unit}" if value >= 1e5 else f"{value:.0f} {unit}"


def _reason(done: Contract, at: int) -> str:
    if at in done.problem.slower:
        return "slower on integers, whatever stands around it"
    if done.best is None:
        return ""
    layer = done.layers[at]
    if layer.s8_cost > layer.f32_cost:
        return "slower on integers, and its borders cost less"
    fastest = done.frontier[0].integers[at] if done.frontier else False
    return "its noise" if fastest else "its borders cost more than it saves"


def _picture(facts: dict[str, Any]) -> dict[str, Any]:
    """The Pareto picture: predicted cost against signal-to-noise ratio, and where verified choices lie."""
    frontier = [item for item in facts["frontier"] if item["layers"]]
    tried = [item for item in facts["verified"] if item["layers"]]
    costs = [item["cost"] for item in facts["frontier"]] + [item["predicted_cost"] for item in tried]
    levels = [item["sqnr_db"] for item in frontier] + [item["predicted_sqnr_db"] for item in tried]
    left, right = min(costs, default=0.0), max(costs, default=1.0)
    low, high = min(levels, default=0.0) - 2, max(levels, default=60.0) + 2

    def place(cost: float, level: float) -> tuple[float, float]:
        across = (cost - left) / ((right - left) or 1.0)
        up = (min(max(level, low), high) - low) / (high - low)
        return (
            round(_MARGIN + across * (_WIDTH - 2 * _MARGIN), 1),
            round(_HEIGHT - _MARGIN - up * (_HEIGHT - 2 * _MARGIN), 1),
        )

    return {
        "width": _WIDTH,
        "height": _HEIGHT,
        "margin": _MARGIN,
        "line": [place(item["cost"], item["sqnr_db"]) for item in frontier],
        "points": [(place(item["predicted_cost"], item["predicted_sqnr_db"]), item) for item in tried],
        "costs": [left, (left + right) / 2, right],
        "levels": [(place(left, level)[1], level) for level in (low, (low + high) / 2, high)],
    }
