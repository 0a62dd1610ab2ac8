"""What a quantization says of itself: units, islands, effects, sizes; for people and for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tiercast.quantize.islands import Island
from tiercast.quantize.ptq import Quantized


def quantization_facts(done: Quantized, islands: Sequence[Island], unit: str | None) -> dict[str, Any]:
    """One object: see the keys. unit: of the islands' costs, None where they were not measured."""
    calibrated, data = done.calibrated, done.calibrated.data
    return {
        "method": calibrated.method,
        "calibration": {"source": data.source, "samples": len(data.batches), "sha256": data.sha256},
        "sqnr_db": {name: round(quality, 2) for name, quality in calibrated.effects.items()},
        "equalized": calibrated.equalized,
        "biases_corrected": done.corrected,
        "units": [
            {
                "name": unit_.name,
                "operator": unit_.operator,
                "kind": unit_.kind,
                "precision": "s8" if unit_.name in done.chosen else "f32",
                "reason": done.kept.get(unit_.name, ""),
            }
            for unit_ in calibrated.units
        ],
        "integers": len(done.chosen),
        "islands": [
            {
                "nodes": list(item.nodes),
                "operators": list(item.operators),
                "dequantized_elements": item.entered,
                "quantized_elements": item.left,
                "cost": item.cost,
            }
            for item in islands
        ],
        "island_cost": None if unit is None else sum(item.cost or 0.0 for item in islands),
        "cost_unit": unit,
        "notes": calibrated.notes,
    }
