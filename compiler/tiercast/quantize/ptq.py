"""Post-training quantization: a float model and calibration data to a model in QDQ form that runs on
integers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import onnx_ir as ir

from tiercast import __version__
from tiercast.custom import custom_ops, find_folders
from tiercast.errors import ModelError, UsageError
from tiercast.ir.provenance import note
from tiercast.package.file import write_atomically
from tiercast.progress import report_progress
from tiercast.quantize.batches import Batch, Data, checked, read_data
from tiercast.quantize.bias import correct_biases
from tiercast.quantize.equalize import between_layers, equalize_layers
from tiercast.quantize.graph import Trial, float_graph, ports_of, run_on_integers, try_integers
from tiercast.quantize.measure import Outputs, outputs_of, sqnr_of
from tiercast.quantize.observe import Seen, copied, observe
from tiercast.quantize.ranges import METHODS, range_of
from tiercast.quantize.units import Unit, find_units, is_mover, moved_values

DEFAULT_METHOD = "mse"
_JUDGED = 16  # samples on which variants are compared
_WORTH_DB = 0.05  # less of an effect is none


@dataclass
class Calibrated:
    """A float graph ready to be quantized: its units and the range of each value that they read or write.

    model: equalised where that was kept. correct: whether biases are, of what gets integers. seen: what the
    values were. exact: the original's outputs on the first samples. effects: what was tried, in order -> SQNR
    in dB of all units on integers. notes: what the user should know.
    """

    model: ir.Model
    data: Data
    method: str
    ranges: dict[str, tuple[float, float]]
    seen: dict[str, Seen]
    exact: list[Outputs]
    effects: dict[str, float] = field(default_factory=dict)
    equalized: list[str] = field(default_factory=list)
    correct: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def units(self) -> list[Unit]:
        """What may run on integers."""
        return find_units(self.model.graph)

    def prepared(self, chosen: Collection[str]) -> tuple[ir.Model, int]:
        """The float graph in which units of these names get integers next: a copy with their biases
        corrected, if that is wanted, and the number of biases; those of layers that stay f32 are left
        alone."""
        if not self.correct:
            return self.model, 0
        model = copied(self.model)
        return model, correct_biases(
            model.graph, [unit for unit in find_units(model.graph) if unit.name in chosen], self.seen
        )


@dataclass
class Quantized:
    """A quantized model in QDQ form.

    trial: the graph and its points. chosen: units on integers; kept: those in f32, each with its reason.
    corrected: the number of biases that were.
    path: the file, if one was written.
    """

    calibrated: Calibrated
    trial: Trial
    chosen: list[str]
    kept: dict[str, str]
    corrected: int = 0
    path: Path | None = None

    @property
    def model(self) -> ir.Model:
        """The graph: ONNX with QuantizeLinear and DequantizeLinear."""
        return self.trial.model


def post_training(
    source: Any,
    calibration: str | PathLike[str] | Sequence[Batch],
    output: str | PathLike[str] | None = None,
    inputs: Mapping[str, Sequence[int]] | None = None,
    *,
    method: str = DEFAULT_METHOD,
    equalize: bool | None = None,
    correct_bias: bool | None = None,
    keep: Collection[str] = (),
    pixels: tuple[float, float] = (0.0, 1.0),
    **options: Any,
) -> Quantized:
    """Quantizes all of a model that our integer operators compute; writes it as an ONNX file to `output`, if
    given.

    source: as `tiercast.compile` takes it; its dynamic dimensions are fixed by `inputs`. calibration: a file
    or folder (see `batches.read_data`), or samples, each {input name: array}. pixels: what 0..255 of pictures
    becomes. method: how ranges come of what was seen, one of minmax, percentile, entropy, mse (`ranges.py`).
    equalize, correct_bias: cross-layer equalisation and bias correction; None: where they help on the
    calibration data. keep: names of units that stay f32. options: dtypes, check_import, ops of
    `tiercast.compile`. Raises UsageError (unfit calibration data, unknown method or unit), ModelError,
    PackageError (not writable).
    """
    with custom_ops(find_folders(options.get("ops"))):
        model = float_graph(source, inputs, **options)
        data = samples_for(model, calibration, pixels)
        done = quantize_all(calibrate(model, data, method, equalize, correct_bias), keep)
    if output is not None:
        done.path = write_quantized(done.model, Path(output))
    return done


def calibrate(
    model: ir.Model,
    data: Data,
    method: str = DEFAULT_METHOD,
    equalize: bool | None = None,
    correct_bias: bool | None = None,
) -> Calibrated:
    """Measures ranges, and equalises and corrects what is asked for, or helps (None). model: a
    `float_graph`."""
    if method not in METHODS:
        raise UsageError(f"method {method!r} is unknown; known: {', '.join(METHODS)}")
    judged = data.batches[:_JUDGED]
    best = _measured(copied(model), data, method, outputs_of(model, judged))
    if not best.units:
        raise ModelError(
            f"{model.metadata_props.get('origin', 'the model')}: nothing in it has a form on integers"
        )
    best.effects["plain"] = _quality(best)
    if equalize is not False:
        best = _better(best, _equalized(best), "equalized", equalize)
    if correct_bias is not False:
        best = _better(best, _corrected(best), "bias corrected", correct_bias)
    best.notes += [
        f"{name} was {found.low:g} in all samples: its one scale holds that, and nothing tells its range"
        for name, found in best.seen.items()
        if found.constant
    ]
    return best


def quantize_all(calibrated: Calibrated, keep: Collection[str] = ()) -> Quantized:
    """All units on integers, but for `keep`, what our passes refuse, and what only leads to the model's
    outputs."""
    units = calibrated.units
    unknown = sorted(set(keep) - {unit.name for unit in units})
    if unknown:
        raise UsageError(
            f"there is no unit {', '.join(unknown)}; units: {', '.join(unit.name for unit in units)}"
        )
    reasons = dict.fromkeys(keep, "asked for")
    reasons |= trailing(calibrated.model, units, set(reasons))
    return quantize_units(calibrated, [unit.name for unit in units if unit.name not in reasons], reasons)


def quantize_units(calibrated: Calibrated, chosen: Sequence[str], reasons: Mapping[str, str]) -> Quantized:
    """Just these units on integers; reasons: why the others are not. Notes in the model how it was made."""
    units = calibrated.units
    left = run_on_integers(calibrated.model, units, chosen, calibrated.ranges)[1]
    chosen = [name for name in chosen if name not in left]
    model, corrected = calibrated.prepared(chosen)
    trial = try_integers(model, find_units(model.graph), chosen, calibrated.ranges)
    kept = {**{name: f"has no form on integers: {why}" for name, why in left.items()}, **reasons}
    note(trial.model, provenance(calibrated, corrected, len(chosen), len(units)))
    return Quantized(calibrated, trial, chosen, kept, corrected)


def trailing(model: ir.Model, units: Sequence[Unit], off: Collection[str]) -> dict[str, str]:
    """Units without weights whose results nothing on integers reads: f32 sums go straight into them."""
    found: dict[str, str] = {}
    for unit in reversed(units):
        if unit.kind == "product" or unit.name in off:
            continue
        readers = _readers(unit.output, units)
        if all(reader in found or reader in off for reader in readers):
            found[unit.name] = "leads to outputs in f32 only"
    return found


def _readers(value: ir.Value, units: Sequence[Unit]) -> list[str]:
    """Units that read a value, also behind operators that are none."""
    found, seen, open_values = [], set(), [value]
    while open_values:
        at = open_values.pop()
        mine = [unit.name for unit in units if at in unit.inputs]
        found += mine
        for use in at.uses():
            if use.node not in seen and not any(use.node in unit.nodes for unit in units):
                seen.add(use.node)
                open_values += use.node.outputs
    return found


def provenance(calibrated: Calibrated, corrected: int, integers: int, units: int) -> dict[str, str]:
    """Facts for the model's metadata, which packages keep."""
    data = calibrated.data
    done = [f"{len(calibrated.equalized)} pairs of layers equalised"] if calibrated.equalized else []
    done += [f"{corrected} biases corrected"] if corrected else []
    return {
        "quantization": f"post-training by tiercast {__version__}, s8: "
        f"{integers} of {units} units on integers",
        "quantization method": "; ".join([calibrated.method, *done]),
        "quantization calibration": f"{len(data.batches)} samples of {data.source}, sha256 {data.sha256}",
    }


def write_quantized(model: ir.Model, path: Path) -> Path:
    """Writes the model as one ONNX file, whole or not at all; UsageError for another suffix, PackageError
    when it can't be written."""
    if path.suffix != ".onnx":
        raise UsageError(
            f"--output {path}: a quantized model is an .onnx file (or a .tcpkg, compiled for --target)"
        )
    try:
        packed = ir.to_proto(model).SerializeToString()
    except ValueError as error:  # protobuf holds 2 GB
        raise ModelError(f"{path}: the quantized model is too large for one ONNX file: {error}") from error
    return write_atomically(path, packed)


def samples_for(
    model: ir.Model,
    calibration: str | PathLike[str] | Sequence[Batch],
    pixels: tuple[float, float] = (0.0, 1.0),
) -> Data:
    """Samples for a graph's inputs, from a file or folder or given as arrays; see `post_training`."""
    ports, outputs = ports_of(model), [value.name or "" for value in model.graph.outputs]
    if isinstance(calibration, (str, PathLike)):
        return read_data(Path(calibration), ports, outputs, pixels)
    return checked(list(calibration), ports)


def _measured(model: ir.Model, data: Data, method: str, exact: list[Outputs]) -> Calibrated:
    names = [value.name or "" for unit in find_units(model.graph) for value in (*unit.inputs, unit.output)]
    names += _moved(model) + between_layers(model.graph)
    seen = observe(model, list(dict.fromkeys(names)), data.batches, method != "minmax")
    report_progress(f"choosing ranges by {method}")
    return Calibrated(
        model, data, method, {name: range_of(found, method) for name, found in seen.items()}, seen, exact
    )


def _moved(model: ir.Model) -> list[str]:
    """What movers move: it is quantized in place of what they make of it."""
    values = [value for node in model.graph if is_mover(node) for value in moved_values(node)]
    return [
        value.name or "" for value in values if value.const_value is None and value.dtype == ir.DataType.FLOAT
    ]


def _quality(calibrated: Calibrated) -> float:
    report_progress("measuring the quantized model")
    return sqnr_of(quantize_all(calibrated).model, calibrated.data.batches[:_JUDGED], calibrated.exact)


def _equalized(base: Calibrated) -> Calibrated | None:
    model = copied(base.model)
    pairs = equalize_layers(model, base.seen)
    if not pairs:
        return None
    made = _measured(model, base.data, base.method, base.exact)
    made.equalized = pairs
    return made


def _corrected(base: Calibrated) -> Calibrated | None:
    made = Calibrated(base.model, base.data, base.method, base.ranges, base.seen, base.exact)
    made.equalized, made.correct = base.equalized, True
    return made if made.prepared([unit.name for unit in made.units])[1] else None


def _better(base: Calibrated, other: Calibrated | None, name: str, wanted: bool | None) -> Calibrated:
    """The variant if it was asked for or helps, else the base; either way its effect is told."""
    if other is None:
        base.notes.append(f"{name}: nothing in the model can be")
        return base
    quality = _quality(other)
    before = base.effects[list(base.effects)[-1]] if wanted else _kept_quality(base)
    effects = {**base.effects, name: quality}
    taken = other if wanted or quality >= before + _WORTH_DB else base
    taken.effects = effects
    taken.notes = base.notes + ([] if taken is other else [f"{name}: left out, it does not help here"])
    return taken


def _kept_quality(base: Calibrated) -> float:
    """The SQNR of what has been kept so far."""
    return base.effects["equalized"] if base.equalized else base.effects["plain"]
