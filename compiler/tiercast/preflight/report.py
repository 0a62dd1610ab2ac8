"""The pre-flight report: what is missing and how to rewrite it, what falls back, where each operator runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from tiercast.emission import EMITTABLE
from tiercast.ir.refusals import NOT_SUPPORTED, Refusal
from tiercast.ir.report import PassReport
from tiercast.kernel import rows_of
from tiercast.lower.storage import FREE_OPS
from tiercast.ops.lowering import KernelCall
from tiercast.preflight.rewrites import nearest_rewrite
from tiercast.preflight.walk import Origin, Walk

# Back-ends that phones have and this version has no code for; every operator's row says so.
ABSENT_BACKENDS = {"opencl": "OpenCL", "metal": "Metal", "npu": "NPU"}
ABSENT = "not available in this version"
# Kinds of fall-backs: what they mean is in `Fallback`.

FALLBACKS = ("portable", "precision", "fusion", "copy")


@dataclass(frozen=True)
class Missing:
    """Nodes that can't be compiled, all for one rule.

    op: the operator, "" where the model as a whole is meant; rewrite: the nearest thing that does compile.
    """

    op: str
    rule: str
    nodes: tuple[str, ...]
    rewrite: str

    @property
    def count(self) -> int:
        """How many nodes."""
        return len(self.nodes)


@dataclass(frozen=True)
class Fallback:
    """What compiles, but slower or wider than it might.

    kind: "portable": a plain loop where other instruction sets have a fast kernel; "precision": f32 where
    less was asked for, or where a quantized model says integers; "fusion": a step of its own where a pass
    looked for a fusion; "copy": a step that only moves data.
    """

    kind: str
    node: str
    reason: str


@dataclass(frozen=True)
class OperatorSupport:
    """One operator of the model: where its nodes run.

    where: back-end -> "neon f32 x17, portable f32 x1", or why there is none. fused: nodes that became part of
    another's step; free: nodes that cost no step (windows on memory); folded: nodes that are gone (constants,
    identities, batch norms). missing, unchecked: nodes that can't be compiled, or whose shapes are not known.
    """

    op: str
    count: int
    where: dict[str, str]
    fused: int = 0
    free: int = 0
    folded: int = 0
    missing: int = 0
    unchecked: int = 0


@dataclass(frozen=True)
class CheckReport:
    """The verdict on one model for one target. `unchecked`: (node, reason) of nodes behind missing ones."""

    source: str
    target: str
    precision: str
    operators: tuple[OperatorSupport, ...] = ()
    missing: tuple[Missing, ...] = ()
    unchecked: tuple[tuple[str, str], ...] = ()
    fallbacks: tuple[Fallback, ...] = ()
    kernels: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the model compiles."""
        return not self.missing

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        missing = [{**asdict(item), "count": item.count} for item in self.missing]
        return {**asdict(self), "missing": missing, "ok": self.ok}


def assemble(walk: Walk) -> CheckReport:
    """The report of a walk."""
    calls = [call for made in walk.calls.values() for call in made]
    return CheckReport(
        walk.source,
        walk.target.name,
        walk.precision,
        tuple(_operators(walk)),
        tuple(_missing(walk.refused)),
        tuple((f"{item.node} ({item.op})", item.rule) for item in walk.refused if item.behind),
        (*_portable(calls), *_refused(walk.reports), *_copies(walk)),
        dict(Counter(call.choice.row.name for call in calls).most_common()),
    )


def _missing(refused: Iterable[Refusal]) -> list[Missing]:
    nodes: dict[tuple[str, str], list[str]] = {}
    for item in refused:
        if not item.behind:
            nodes.setdefault((item.op, item.rule), []).append(item.node)
    return [
        Missing(op, rule, tuple(name for name in names if name), _rewrite(op, rule))
        for (op, rule), names in sorted(nodes.items(), key=lambda entry: (-len(entry[1]), entry[0]))
    ]


def _rewrite(op: str, rule: str) -> str:
    by_tvm = op in EMITTABLE and rule.startswith(NOT_SUPPORTED)
    return nearest_rewrite(op, rule) + ("; or let TVM write its kernel: compile --tvm" if by_tvm else "")


def _operators(walk: Walk) -> list[OperatorSupport]:
    by_op: dict[str, list[Origin]] = {}
    for node in walk.nodes:
        by_op.setdefault(node.op, []).append(node)
    made = [_operator(op, nodes, walk) for op, nodes in by_op.items()]
    return sorted(made, key=lambda item: (-item.missing, -item.count, item.op))


def _operator(op: str, nodes: list[Origin], walk: Walk) -> OperatorSupport:
    refused = {item.result or item.node: item for item in walk.refused}
    fates: Counter[str] = Counter()
    kernels: Counter[str] = Counter()
    for node in nodes:
        fate = _fate(node, walk, refused)
        fates[fate] += 1
        if fate == "step":
            kernels.update(_kind(call) for call in _own_calls(node, walk))
    steps = ", ".join(f"{kind} x{count}" for kind, count in kernels.most_common())
    where = {"cpu": steps or _stepless(fates), **dict.fromkeys(ABSENT_BACKENDS, ABSENT)}
    counts = {key: fates[key] for key in ("fused", "free", "folded", "missing", "unchecked")}
    return OperatorSupport(op, len(nodes), where, **counts)


def _own_calls(node: Origin, walk: Walk) -> list[KernelCall]:
    """The kernel calls that compute the node; a Copy is one only where the node itself just moves data."""
    calls = [call for name in node.outputs for call in walk.calls.get(name, ())]
    moves = {op for name in node.outputs for op in walk.legalized.get(name, ())} <= FREE_OPS | {"Copy"}
    return [call for call in calls if moves or call.node.op_type != "Copy"]


def _fate(node: Origin, walk: Walk, refused: dict[str, Refusal]) -> str:
    names = (*node.outputs, node.name)
    refusal = next((refused[name] for name in names if name in refused), None)
    if refusal is not None:
        return "unchecked" if refusal.behind else "missing"
    if _own_calls(node, walk):
        return "step"
    if not walk.remained.intersection(node.outputs):
        return "folded" if walk.remained else "unchecked"
    made = {op for name in node.outputs for op in walk.legalized.get(name, ())}
    return "free" if made <= FREE_OPS else "fused"


def _stepless(fates: Counter[str]) -> str:
    told = {
        "fused": "in another's step",
        "free": "no step",
        "folded": "folded away",
        "unchecked": "not checked",
    }
    return "; ".join(text for fate, text in told.items() if fates[fate]) or "none"


def _kind(call: KernelCall) -> str:
    row = call.choice.row
    types = row.in_dtype if row.in_dtype == row.out_dtype else f"{row.in_dtype}>{row.out_dtype}"
    return f"{row.isa} {types}"


def _portable(calls: Iterable[KernelCall]) -> list[Fallback]:
    found = []
    for call in calls:
        row = call.choice.row
        if row.isa == "portable" and any(other.isa != "portable" for other in rows_of(row.op)):
            found.append(
                Fallback("portable", call.node.name or "", f"{row.name}: {'; '.join(call.choice.refused)}")
            )
    return found


def _refused(reports: Iterable[PassReport]) -> list[Fallback]:
    kinds = {"choose": "precision", "quantize": "precision", "fuse": "fusion"}
    return [
        Fallback(kinds[report.name.partition("_")[0]], node, f"{report.name}: {reason}")
        for report in reports
        if report.name.partition("_")[0] in kinds
        for node, reason in report.refused
    ]


def _copies(walk: Walk) -> list[Fallback]:
    found = [Fallback("copy", *line.split(": ", 1)) for line in walk.copies]
    for made in walk.calls.values():
        for call in made:
            if call.node.op_type == "Copy":
                found.append(
                    Fallback("copy", call.node.name or "", "its data is moved to another memory order")
                )
    return found
