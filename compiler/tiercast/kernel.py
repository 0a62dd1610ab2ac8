"""Kernels as data: kernels/<op>/kernels.toml is the registry, the test list and the benchmark list of an op.

A row is one variant. Its name is computed from the row: `<op>_<in><out>_<isa>_<tile>[_<core>]`. Rows stand in
order of merit; the first whose `needs` the target has, and which the op accepts, is chosen. `portable` needs
nothing.
"""

from __future__ import annotations

import struct
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tiercast.errors import GraphError, UsageError
from tiercast.isa import instruction_sets
from tiercast.paths import room

Accept = Callable[["Row"], "str | None"]


@dataclass(frozen=True)
class Param:
    """One field of an op's params struct.

    A C name, a 4-byte kind ("i32" | "f32"), a length and its enum if it has one.
    """

    name: str
    kind: str
    length: int
    is_array: bool
    enum: str | None = None


@dataclass(frozen=True)
class Row:
    """One kernel variant.

    `tile` holds its template values; `op` names the meaning all rows of an op and dtype share.
    """

    name: str
    op: str
    folder: str
    isa: str
    needs: frozenset[str]
    template: str
    tile: Mapping[str, int] = field(hash=False)
    in_dtype: str = "f32"
    out_dtype: str = "f32"


@dataclass(frozen=True)
class Case:
    """A shape the op is tested or benchmarked on.

    A physical node with its inputs, as text (see `kernels.toml`).
    """

    op: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(hash=False)
    dtype_op: str | None = None


@dataclass(frozen=True)
class KernelFamily:
    """Everything kernels/<name>/kernels.toml says."""

    name: str
    doc: str
    folder: Path
    params: tuple[Param, ...]
    rows: tuple[Row, ...]
    samples: tuple[Case, ...]
    benches: tuple[Case, ...]

    def pack_params(self, values: Mapping[str, Any]) -> bytes:
        """The params struct as little-endian bytes.

        Enum values by their names. UsageError on a missing or unknown field.
        """
        unknown = set(values) - {param.name for param in self.params}
        if unknown:
            raise UsageError(f"kernels/{self.name}: params have no field {', '.join(sorted(unknown))}")
        packed = b"".join(_pack(self.name, param, values) for param in self.params)
        return packed or bytes(4)  # a C struct is never empty


@dataclass(frozen=True)
class Choice:
    """The row that was chosen and, for each better one, why it was refused.

    better: names of those refused only for a feature beyond the target's least device; the runtime binds
    them where the CPU has it.
    """

    row: Row
    refused: tuple[str, ...]
    better: tuple[str, ...] = ()


_EXTRA: ContextVar[Mapping[str, KernelFamily]] = ContextVar("extra families", default=MappingProxyType({}))


def families() -> Mapping[str, KernelFamily]:
    """Every kernel family by name: those of kernels/, discovered, and those `extended` adds."""
    extra = _EXTRA.get()
    return {**own_families(), **extra} if extra else own_families()


@cache
def own_families() -> dict[str, KernelFamily]:
    """The families of kernels/ by name."""
    return read_families(room("kernels"))


def read_families(folder: Path) -> dict[str, KernelFamily]:
    """The families of a folder laid out like kernels/, by name; UsageError names an unreadable file."""
    return {path.parent.name: _read(path) for path in sorted(folder.glob("*/kernels.toml"))}


@contextmanager
def extended(more: Mapping[str, KernelFamily]) -> Iterator[None]:
    """Within it, and only in this thread's context, `families` has these too."""
    token = _EXTRA.set({**_EXTRA.get(), **more})
    try:
        yield
    finally:
        _EXTRA.reset(token)


def rows_of(op: str) -> tuple[Row, ...]:
    """The rows of one op (say "conv2d_f32f32") in order of merit; UsageError when there is none."""
    extra = tuple(row for family in _EXTRA.get().values() for row in family.rows if row.op == op)
    rows = extra or _own_rows(op)
    if not rows:
        raise UsageError(f"kernels: no row has op {op!r}; add one to a kernels.toml")
    return rows


@cache
def _own_rows(op: str) -> tuple[Row, ...]:
    return tuple(row for family in own_families().values() for row in family.rows if row.op == op)


@cache
def enums() -> dict[str, tuple[str, ...]]:
    """kernels/enums.toml: enum name -> its values, in C order from 0."""
    facts = tomllib.loads((room("kernels") / "enums.toml").read_text())
    return {name: tuple(entry["values"]) for name, entry in facts.items()}


def choose(op: str, has: frozenset[str], accept: Accept | None = None) -> Choice:
    """The first row of `op` whose needs ⊆ `has` and which `accept` (row -> None or its refusal) does not
    refuse.
    """
    refused: list[str] = []
    better: list[str] = []
    for row in rows_of(op):
        missing = row.needs - has
        # The target has its instruction set, and perhaps the rest on some devices.
        known = bool(row.needs & has)
        reason = accept(row) if accept and (known or not missing) else None
        if reason is None and not missing:
            return Choice(row, tuple(refused), tuple(better))
        if reason is None and known:
            better.append(row.name)
        lacks = f"target lacks {', '.join(sorted(missing))}"
        refused.append(f"{row.name}: {lacks if missing else reason}")
    raise UsageError(f"kernels: every row of {op!r} was refused: {'; '.join(refused)}")


def _pack(family: str, param: Param, values: Mapping[str, Any]) -> bytes:
    if param.name not in values:
        raise UsageError(f"kernels/{family}: params field {param.name!r} has no value")
    value = values[param.name]
    if param.enum is not None:
        names = enums()[param.enum]
        if value not in names:
            raise UsageError(f"kernels/{family}: {param.name}={value!r} is not one of {', '.join(names)}")
        return struct.pack("<i", names.index(value))
    items: Sequence[Any] = list(value) if param.is_array else [value]
    if len(items) > param.length:
        raise UsageError(f"kernels/{family}: {param.name} holds {param.length} values, got {len(items)}")
    padded = [*items, *[0] * (param.length - len(items))]
    try:
        return struct.pack(f"<{param.length}{'i' if param.kind == 'i32' else 'f'}", *padded)
    except (struct.error, OverflowError):
        raise GraphError(f"{family}: {param.name}={value} does not fit the kernels' {param.kind}") from None


def _read(path: Path) -> KernelFamily:
    try:
        facts = tomllib.loads(path.read_text())
        name = facts["op"]["name"]
        return KernelFamily(
            name=name,
            doc=facts["op"]["doc"],
            folder=path.parent,
            params=tuple(_param(key, text) for key, text in facts.get("params", {}).items()),
            rows=tuple(_row(name, entry) for entry in facts["kernel"]),
            samples=tuple(_case(name, entry) for entry in facts.get("sample", [])),
            benches=tuple(_case(name, entry) for entry in facts.get("bench", [])),
        )
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not TOML: {error}") from error
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    except KeyError as error:
        raise UsageError(
            f"{path}: {error} is missing or unknown; it needs [op] with name and doc, and [[kernel]] rows "
            f"with in, out, template and an isa of {', '.join(instruction_sets())}"
        ) from error


def _param(name: str, text: str) -> Param:
    if text.startswith("enum:"):
        return Param(name, "i32", 1, False, text.removeprefix("enum:"))
    kind, bracket, length = text.partition("[")
    if kind not in ("i32", "f32"):
        raise UsageError(
            f"kernels.toml: params field {name!r} has type {text!r}; "
            "known: i32, f32, i32[N], f32[N], enum:<name>"
        )
    return Param(name, kind, int(length.rstrip("]")) if bracket else 1, bool(bracket))


def _row(family: str, entry: Mapping[str, Any]) -> Row:
    isa = entry["isa"]
    tile: dict[str, int] = dict(entry.get("tile", {}))
    op = f"{entry.get('op', family)}_{entry['in']}{entry['out']}"
    parts = [op, isa, "x".join(str(value) for value in tile.values()), entry.get("core", "")]
    needs = {*entry.get("needs", ()), *instruction_sets()[isa].get("needs", (isa,))}
    return Row(
        name="_".join(part for part in parts if part),
        op=op,
        folder=family,
        isa=isa,
        needs=frozenset(needs),
        template=entry["template"],
        tile=tile,
        in_dtype=entry["in"],
        out_dtype=entry["out"],
    )


def _case(family: str, entry: Mapping[str, Any]) -> Case:
    camel = "".join(part.capitalize() for part in family.split("_"))
    return Case(
        entry.get("op", camel), tuple(entry["inputs"]), entry.get("attributes", {}), entry.get("kernel")
    )
