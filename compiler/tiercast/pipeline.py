"""The compiler as a list: a model flows down STAGES, is lowered to a plan and written as a package."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, TypedDict, Unpack

import onnx_ir as ir

from tiercast import __version__
from tiercast.calibration import Batch, measure_ranges, random_batches
from tiercast.codegen.library import host_library, render_families, with_table
from tiercast.custom import CustomOps, custom_ops, find_folders
from tiercast.emission import Emitter, emitter
from tiercast.errors import UsageError
from tiercast.extras import Extras, folder_beside, merge, write_extras
from tiercast.frontend import load
from tiercast.frontend.shapes import Shapes, are_open, expand_shapes, first_shapes, has_buckets, input_symbols
from tiercast.ir.provenance import noted
from tiercast.ir.report import PassReport
from tiercast.ir.spec import check
from tiercast.lower.buckets import share_prepared
from tiercast.lower.lowering import lower_graph, refusals
from tiercast.lower.plan import Plan, WeightsSegment
from tiercast.package.file import write_package
from tiercast.passes.assign_layout import assign_layout
from tiercast.passes.choose_precision import choose_precision, request_half
from tiercast.passes.fold_batch_norm import fold_batch_norm
from tiercast.passes.fold_constants import fold_constants
from tiercast.passes.fuse_activation import fuse_activation
from tiercast.passes.fuse_attention import fuse_attention
from tiercast.passes.fuse_gate import fuse_gate
from tiercast.passes.fuse_idioms import fuse_idioms
from tiercast.passes.fuse_inverted_residual import fuse_inverted_residual
from tiercast.passes.fuse_layer_norm import fuse_layer_norm
from tiercast.passes.fuse_pad import fuse_pad
from tiercast.passes.fuse_pointwise import fuse_pointwise
from tiercast.passes.fuse_repeat import fuse_repeat
from tiercast.passes.fuse_residual import fuse_residual
from tiercast.passes.fuse_resize import fuse_resize
from tiercast.passes.fuse_scale import fuse_scale
from tiercast.passes.fuse_softmax import fuse_softmax
from tiercast.passes.fuse_statistics import fuse_statistics
from tiercast.passes.fuse_table import fuse_table
from tiercast.passes.move_quantization import move_quantization
from tiercast.passes.quantize_operators import quantize_operators
from tiercast.passes.remove_copies import remove_copies
from tiercast.passes.remove_empties import remove_empties
from tiercast.passes.remove_identities import remove_identities
from tiercast.passes.split_composites import split_composites
from tiercast.passes.split_copies import split_copies
from tiercast.passes.unroll_loops import unroll_loops
from tiercast.passes.widen_halves import widen_halves
from tiercast.passes.widen_int4 import widen_int4
from tiercast.records import Records, find_records
from tiercast.target import Target, find_target, targets
from tiercast.text import shape_text
from tiercast.tuning import Decisions


@dataclass(frozen=True)
class Stage:
    """One pass and the spec its result must meet (see `ir/spec.py`)."""

    run: Callable[[ir.Model], PassReport]
    spec: str

    @property
    def name(self) -> str:
        """The pass's name, as `--print-after` takes it."""
        return self.run.__name__

    def apply(self, model: ir.Model, decisions: Decisions) -> PassReport:
        """Runs the pass; this kind rewrites whatever the target."""
        del decisions
        return self.run(model)


@dataclass(frozen=True)
class DecidingStage:
    """A pass that rewrites only where that is faster on the target: it asks `Decisions` (see `tuning.py`)."""

    run: Callable[[ir.Model, Decisions], PassReport]
    spec: str

    @property
    def name(self) -> str:
        """The pass's name, as `--print-after` takes it."""
        return self.run.__name__

    def apply(self, model: ir.Model, decisions: Decisions) -> PassReport:
        """Runs the pass."""
        return self.run(model, decisions)


STAGES: tuple[Stage | DecidingStage, ...] = (
    # ONNX operators, in the model's own memory order
    Stage(widen_halves, "loaded"),
    Stage(widen_int4, "loaded"),
    Stage(fold_constants, "imported"),
    Stage(unroll_loops, "imported"),
    Stage(split_composites, "imported"),
    Stage(remove_empties, "imported"),
    Stage(remove_identities, "imported"),
    Stage(fuse_repeat, "imported"),
    Stage(fold_batch_norm, "simplified"),
    Stage(fuse_layer_norm, "simplified"),
    Stage(fuse_softmax, "simplified"),
    Stage(move_quantization, "simplified"),
    Stage(quantize_operators, "quantized"),
    Stage(fuse_table, "quantized"),
    # physical ops, memory order decided
    Stage(assign_layout, "laid_out"),
    Stage(remove_copies, "laid_out"),
    Stage(split_copies, "laid_out"),
    Stage(fuse_pad, "laid_out"),
    Stage(fuse_resize, "laid_out"),
    Stage(fuse_gate, "laid_out"),
    Stage(fuse_idioms, "laid_out"),
    Stage(fuse_scale, "laid_out"),
    Stage(fuse_activation, "laid_out"),
    Stage(fuse_residual, "laid_out"),
    Stage(fuse_pointwise, "fused"),
    Stage(fuse_attention, "fused"),
    Stage(choose_precision, "fused"),
    DecidingStage(fuse_inverted_residual, "fused"),
    Stage(fuse_statistics, "fused"),
)
PRECISIONS = ("f32", "f16", "f16-weights", "int8-weights", "int4-weights")


@dataclass
class Compilation:
    """What one compilation did: the final graph, its plan, each pass's report and time.

    extras: the code of kernels that the plan calls and that no library of ours has, or None.
    """

    model: ir.Model
    plan: Plan
    target: Target
    decisions: Decisions
    reports: list[PassReport] = field(default_factory=list)
    times_ms: dict[str, float] = field(default_factory=dict)
    copies: list[str] = field(default_factory=list)
    extras: Extras | None = None


Ops = Sequence[str | PathLike[str]] | str | PathLike[str] | None
Watch = Callable[[str, ir.Model], None]


class CompileOptions(TypedDict, total=False):
    """What `compile` takes by keyword, and tells; their defaults stand in `compile_plan`."""

    precision: str
    calibrate: Sequence[Batch] | None
    watch: Watch | None
    records: Path | Records | None
    dtypes: Mapping[str, str] | None
    check_import: bool
    ops: Ops
    tvm: str | None


def compile(
    source: Any,
    target: str = "host",
    output: str | PathLike[str] | None = None,
    inputs: Shapes | None = None,
    **options: Unpack[CompileOptions],
) -> Path:
    """Compiles a model to a package and returns the package's path.

    source: a path (.onnx, .pt2, .pt of TorchScript), "module:factory" (a PyTorch module and its example
    inputs), an `onnx.ModelProto`, an `onnx_ir.Model`, a `torch.export.ExportedProgram` or a TorchScript
    module.
    target: see `tiercast targets`. output: default `<model>.<target>.tcpkg` in the working folder.
    inputs: shapes that fix dynamic dimensions, {"image": (1, 3, 256, 256)}; several sizes of a dimension,
    {"image": (1, 3, (256, 512), 256)}, make a shape bucket of each combination, all in one package.
    dtypes: element types of TorchScript's inputs that are not f32, {"ids": "s64"}.
    check_import: compare what PyTorch's exporter made with eager PyTorch (see `frontend.load`).
    precision: "f32"; "f16": storage and arithmetic, for targets that have fp16; "f16-weights": half the
    package, "int8-weights": about 0.3 of it, "int4-weights": 0.2 of it, all computed in f32, for all targets.
    calibrate: for f16, inputs (arrays by name) on which the values' ranges are measured: what would overflow
    stays f32. Default: random ones.
    watch: called as watch(stage name, model) after every stage.
    records: folder of measured times (`tiercast tune --records`) to use instead of the target's own.
    ops: folders of your own ops (docs/adding.md); their kernels come to lie beside the package, in
    `<model>.kernels/`.
    tvm: "missing" has TVM write kernels for operators that no op takes, "prefer" also for operators that ours
    could compute; each is proven against onnxruntime first. They come to lie beside the package too.
    Raises ModelError (the model can't be compiled: which node, which rule), UsageError, PackageError (output
    not writable).
    """
    done = compile_buckets(source, target, inputs, **options)
    path = Path(output) if output is not None else Path(f"{_stem(source, done[0].model)}.{target}.tcpkg")
    return write_compilation(done, path)


def write_compilation(done: Compilation | Sequence[Compilation], path: Path) -> Path:
    """Writes the package and, beside it, the code of extra kernels that it calls; for the host their library.

    PackageError when something can't be written, ToolchainError when the code can't be compiled here.
    """
    buckets = [done] if isinstance(done, Compilation) else list(done)
    extras = buckets[0].extras
    if extras is not None and buckets[0].target.toolchain is None:
        with host_library(extras) as built:
            write_extras(extras, folder_beside(path), built)
    elif extras is not None:
        write_extras(extras, folder_beside(path))
    return write_package([item.plan for item in buckets], path)


def compile_buckets(
    source: Any,
    target: str = "host",
    inputs: Shapes | None = None,
    **options: Unpack[CompileOptions],
) -> list[Compilation]:
    """Like `compile`, without writing: a compilation per shape bucket, whose plans share weights and memory.

    calibrate: each bucket's ranges are measured on the inputs of its shapes; UsageError where it has none.
    check_import: dimensions that the model leaves open are checked at a second size with the first bucket, so
    later ones are not checked again.
    """
    wanted = inputs or {}
    segment = WeightsSegment()
    calibrate = options.get("calibrate")

    def compile_bucket(shapes: Mapping[str, Sequence[int]], own: CompileOptions) -> Compilation:
        if calibrate and has_buckets(wanted):
            own = {**own, "calibrate": _of_shapes(calibrate, shapes)}
        return compile_plan(source, target, shapes, weights=segment, **own)

    done = [compile_bucket(first_shapes(wanted), options)]
    symbols = input_symbols(done[0].model)
    check_again = options.get("check_import", True) and not are_open(wanted, symbols)
    later: CompileOptions = {**options, "check_import": check_again}
    done += [compile_bucket(shapes, later) for shapes in expand_shapes(wanted, symbols)[1:]]
    plans = [item.plan for item in done]
    share_prepared(plans)
    weights = segment.whole()
    for plan in plans:
        plan.weights = weights
    _share_extras(done)
    return done


def _share_extras(done: Sequence[Compilation]) -> None:
    """One extra library for all buckets, which their facts name."""
    found = [item.extras for item in done if item.extras is not None]
    if not found:
        return
    extras = with_table(merge(found))
    called = {step.kernel for item in done for step in (*item.plan.prepare, *item.plan.steps)}
    for item in done:
        item.extras = extras
        item.plan.facts |= extras.facts(called)


def _of_shapes(batches: Sequence[Batch], shapes: Mapping[str, Sequence[int]]) -> list[Batch]:
    """Those calibration inputs that have these shapes."""
    fitting = [
        batch
        for batch in batches
        if all(name not in batch or batch[name].shape == tuple(dims) for name, dims in shapes.items())
    ]
    if not fitting:
        text = " ".join(f"{name} {shape_text(dims)}" for name, dims in shapes.items())
        raise UsageError(f"no calibration input is of the bucket {text}; give one of each bucket's shapes")
    return fitting


def compile_plan(
    source: Any,
    target: str = "host",
    inputs: Mapping[str, Sequence[int]] | None = None,
    *,
    precision: str = "f32",
    calibrate: Sequence[Batch] | None = None,
    watch: Watch | None = None,
    prefer: str | None = None,
    records: Path | Records | None = None,
    wanted: Mapping[str, str] | None = None,
    weights: WeightsSegment | None = None,
    dtypes: Mapping[str, str] | None = None,
    check_import: bool = True,
    ops: Ops = None,
    until: str | None = None,
    tvm: str | None = None,
) -> Compilation:
    """Like `compile`, without writing and for one choice of shapes.

    The graph, the plan and the reports. `prefer`: a kernel row's name (see lowering); `wanted`: decisions to
    take whatever their times (see `tuning.Decisions`);
    `records`: a folder, or the records themselves; `weights`: a segment that takes the constants, shared with
    other plans; the plan's own `weights` then stay empty; `until`: the stage after which to stop, without a
    plan.
    """
    chosen = resolve(target)
    check_precision(precision, chosen)
    with ExitStack() as stack:
        custom = stack.enter_context(custom_ops(find_folders(ops)))
        by_tvm = stack.enter_context(emitter(chosen, tvm)) if tvm is not None else None
        shapes = {name: tuple(dims) for name, dims in (inputs or {}).items()}
        model = load(source, shapes, dtypes=dtypes, check_import=check_import)
        check(model, "loaded")
        if watch:
            watch("load", model)
        known = records if isinstance(records, Records) else find_records(chosen, records)
        done = Compilation(model, Plan(target), chosen, Decisions(chosen, known, wanted))
        for stage in _stages_until(until):
            if stage.run is move_quantization and precision == "f16":
                _request_half(done, calibrate)
            if stage.run is assign_layout and by_tvm is not None:
                done.reports.append(by_tvm.take_regions(done.model))
            _run_stage(stage, done, watch)
        if until is not None:
            return done
        started = time.perf_counter()
        done.plan = lower_graph(
            done.model,
            chosen,
            prefer,
            done.decisions,
            stored=stored_weights(precision),
            weights=weights,
        )
        done.copies = refusals(done.model)
        done.times_ms["lower"] = (time.perf_counter() - started) * 1e3
        done.plan.facts |= {
            "compiler": f"tiercast {__version__}",
            "model": _stem(source, model),
            "target": target,
        }
        done.plan.facts["precision"] = precision
        done.plan.facts |= done.decisions.facts()
        done.plan.facts |= integer_facts(done.reports) | noted(done.model)
        done.extras = extras_of(done, custom, by_tvm)
        return done


def extras_of(done: Compilation, custom: Sequence[CustomOps], by_tvm: Emitter | None = None) -> Extras | None:
    """The code of the kernels that the plan calls and that are not ours; its facts name them."""
    called = {step.kernel for step in (*done.plan.prepare, *done.plan.steps)}
    families = [family for item in custom for family in item.families.values()]
    used = [family for family in families if any(row.name in called for row in family.rows)]
    parts = [render_families(done.target, used)] if used else []
    parts += by_tvm.extras(called) if by_tvm is not None else []
    if not parts:
        return None
    extras = with_table(merge(parts))
    done.plan.facts |= extras.facts(called)
    return extras


def integer_facts(reports: Sequence[PassReport]) -> dict[str, str]:
    """The fact "integers": how many operators of a quantized model run on integers; nothing for other
    models.
    """
    report = next((item for item in reports if item.name == quantize_operators.__name__), None)
    if report is None or not report.applied:
        return {}
    left = f"; {len(report.refused)} stay in f32" if report.refused else ""
    return {"integers": f"{len(report.applied)} operators{left}"}


def _stages_until(name: str | None) -> Sequence[Stage | DecidingStage]:
    if name is None:
        return STAGES
    return STAGES[: stage_names().index(check_stage_name(name))]


def stored_weights(precision: str) -> str:
    """How `lower_graph` is to keep weights for one of PRECISIONS."""
    return {"f16-weights": "f16", "int8-weights": "s8", "int4-weights": "s4"}.get(precision, "f32")


def check_precision(precision: str, target: Target) -> None:
    """UsageError for an unknown precision, or one that the target has no arithmetic for."""
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r} is unknown; known: {', '.join(PRECISIONS)}")
    if precision == "f16" and "fp16" not in target.has:
        able = ", ".join(sorted(name for name, item in targets().items() if "fp16" in item.has))
        raise UsageError(
            f"target {target.name} has no f16 arithmetic (fp16), so --precision f16 would only be slower; "
            f"take f16-weights, or a target that has it: {able}"
        )


def _request_half(done: Compilation, calibrate: Sequence[Batch] | None) -> None:
    """Measures the ranges of the ONNX stage's values."""
    started = time.perf_counter()
    batches = calibrate if calibrate is not None else random_batches(done.model)
    request_half(done.model, measure_ranges(done.model, batches))
    done.times_ms["measure_ranges"] = (time.perf_counter() - started) * 1e3


def resolve(name: str) -> Target:
    """The target, with `has` of the host read from this CPU."""
    found = find_target(name)
    if found.toolchain is not None:
        return found
    from tiercast import _native  # a cross compilation needs no native build

    return dataclasses.replace(found, has=frozenset(_native.cpu_features()))


def stage_names() -> list[str]:
    """Names for `--print-after`, in order."""
    return ["load", *(stage.name for stage in STAGES)]


def check_stage_name(name: str) -> str:
    """The name itself; UsageError lists the known ones when it is none of them."""
    if name not in stage_names():
        raise UsageError(f"stage {name!r} is unknown; stages in order: {', '.join(stage_names())}")
    return name


def _run_stage(stage: Stage | DecidingStage, done: Compilation, watch: Watch | None) -> None:
    started = time.perf_counter()
    done.reports.append(stage.apply(done.model, done.decisions))
    done.times_ms[stage.name] = (time.perf_counter() - started) * 1e3
    check(done.model, stage.spec)
    if watch:
        watch(stage.name, done.model)


def _stem(source: Any, model: ir.Model) -> str:
    if isinstance(source, (str, PathLike)):
        return Path(str(source).replace(":", "_")).stem
    return model.graph.name or "model"
