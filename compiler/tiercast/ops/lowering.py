"""What an op's `lower` works with: constants, row choice and kernel calls. `lower/` implements it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnx_ir as ir

from tiercast.kernel import Choice, Row
from tiercast.ops.panels import Panels


@dataclass(frozen=True)
class Const:
    """A constant operand in the weights segment, number `index` of the lowering's table."""

    index: int


@dataclass(frozen=True)
class View:
    """A strided window on a physical value.

    Dims and strides in elements, from element `offset` of the value's storage.
    """

    value: ir.Value
    dims: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0


@dataclass(frozen=True)
class Prepared:
    """An operand made from constants when a session opens, number `index` of the lowering's table."""

    index: int


Operand = ir.Value | Const | Prepared | View | None


@dataclass(frozen=True)
class KernelCall:
    """One step to be: which row was chosen, on which operands, with which params (already packed)."""

    node: ir.Node
    choice: Choice
    inputs: tuple[Operand, ...]
    outputs: tuple[ir.Value | Prepared | View, ...]
    params: bytes
    scratch_bytes: int
    macs: int


class Lowering(Protocol):
    """The lowering of one graph for one target."""

    def choose(self, op: str, accept: Callable[[Row], str | None] | None = None) -> Row:
        """First row in order of merit that the target has and `accept` (row -> None or a refusal) takes.

        Refusals are kept.
        """

    def decide(self, key: str, candidates: Mapping[str, float]) -> str:
        """The candidate to take; see `tuning.Decisions`. Candidates that are kernel ops bear the op's name.

        key: `ops.registry.shape_key` of what is decided on; candidates: name -> predicted microseconds.
        """

    def const(self, array: np.ndarray, label: str, exact: bool = False) -> Const | Prepared:
        """Puts an array, called `label` in the plan, in the weights segment (C order, once, aligned).

        Large f32 ones are kept there in f16 and widened when a session opens, where the package is to have
        half-precision weights and this one need not be `exact`.
        """

    def weight(
        self,
        matrix: np.ndarray,
        label: str,
        panels: Panels | None = None,
        dims: Sequence[int] | None = None,
    ) -> Const | Prepared:
        """A weight operand: matrices [..., K, N] with a column for each output, packed where `panels` say so.

        Kept as s8 with a scale for each column, and widened when a session opens, where that loses nothing
        or the package is to have int8 weights; one without columns (flat) in f16 then. dims: of the operand;
        default: the matrix's, or flat where it is packed.
        """

    def prepare(
        self,
        node: ir.Node,
        row: Row,
        inputs: Sequence[Const | Prepared | None],
        dims: tuple[int, ...],
        label: str,
        params: Mapping[str, Any],
        scratch_bytes: int = 0,
    ) -> Prepared:
        """Appends a kernel call that runs once, when a session opens: what it makes, f32 and dense.

        For constants that are larger than what the package should hold, say transformed weights.
        """

    def call(
        self,
        node: ir.Node,
        row: Row,
        inputs: Sequence[Operand],
        outputs: Sequence[ir.Value | View],
        params: Mapping[str, Any],
        scratch_bytes: int = 0,
        refused: Sequence[str] = (),
    ) -> None:
        """Appends a kernel call; UsageError when params do not fit the family's struct.

        refused: "algorithm: reason" for better ones than the row's, told with its refusals.
        """
