"""Reads and writes .tcpkg files (layout: runtime/package/package.fbs)."""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import flatbuffers
import numpy as np
import xxhash

from tiercast.errors import PackageError
from tiercast.lower.buckets import buckets_text
from tiercast.lower.plan import NUMPY_DTYPES, Plan, Port, Step, Tensor
from tiercast.package import schema
from tiercast.target import CORES

MAGIC = b"TIERCAST"
VERSION = 2
HEADER_BYTES = 64
SEGMENT_BYTES = 16384  # Android's largest page: the weights map straight from the file on every device
_DTYPES = tuple(NUMPY_DTYPES)
_PLACES = ("arena", "weights", "input", "output", "prepared")


Plans = Plan | Sequence[Plan]


def encode(plans: Plans) -> bytes:
    """The package file's bytes: of one plan, or of several that are the shape buckets of one model.

    Several plans have one weights segment between them (`Plan.weights` is the same in all).
    """
    return b"".join(_parts(plans))


def write_package(plans: Plans, path: Path) -> Path:
    """Writes the package at `path` whole or not at all (a temporary file beside it, synced, then renamed).

    plans: see `encode`. PackageError names the path and the reason when the folder can't be written or the
    disk is full.
    """
    return write_atomically(path, *_parts(plans))


def write_atomically(path: Path, *parts: bytes | bytearray) -> Path:
    """Writes a file of these parts whole or not at all; PackageError names the path and the reason."""
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise PackageError(
            f"can't write {path}: {error.strerror or error} ({sum(map(len, parts))} bytes); "
            "choose a writable --output with enough space"
        ) from error
    return path


def read_plans(path: Path) -> tuple[Plan, ...]:
    """The plans of a package, one per shape bucket, for inspection; they share their `weights`.

    The runtime does its own, full verification before it runs one. PackageError on a file that is not a
    package, is truncated or damaged.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEADER_BYTES)
            if len(head) < HEADER_BYTES or head[:8] != MAGIC:
                raise PackageError(
                    f"{path}: not a Tiercast package (it must begin with {MAGIC.decode()!r}); "
                    "compile one with `tiercast compile`"
                )
            packed, weights = _read_body(path, file, head)
    except OSError as error:
        raise PackageError(f"can't read {path}: {error.strerror or error}") from error
    try:
        model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(packed, 0))
        plans = tuple(_decode_plan(plan) for plan in model.plans)
        if not plans:
            raise ValueError("it holds no plan")
    except Exception as error:  # a hostile file with right checksums: the decoder may fail anywhere
        raise PackageError(f"{path}: its plan can't be decoded ({error!r})") from error
    for plan in plans:
        plan.weights = weights
    return plans


def read_package(path: Path) -> Plan:
    """The plan of a package that has one; PackageError when it has several, shape buckets (`read_plans`)."""
    plans = read_plans(path)
    if len(plans) > 1:
        raise PackageError(
            f"{path} holds {len(plans)} shape buckets, and one is wanted here: {buckets_text(plans)}"
        )
    return plans[0]


def _parts(plans: Plans) -> tuple[bytes, bytes, bytes, bytes | bytearray]:
    """Header, plans, padding and weights of the file."""
    buckets = [plans] if isinstance(plans, Plan) else list(plans)
    weights = buckets[0].weights
    if any(plan.weights is not weights and plan.weights != weights for plan in buckets):
        raise ValueError("the plans of a package share one weights segment")
    packed = _encode_model(buckets)
    weights_at = -(-(HEADER_BYTES + len(packed)) // SEGMENT_BYTES) * SEGMENT_BYTES
    padding = bytes(weights_at - HEADER_BYTES - len(packed))
    digest = _digest(packed, padding, weights)
    head = MAGIC + struct.pack(
        "<IIQQQQQ", VERSION, 0, HEADER_BYTES, len(packed), weights_at, len(weights), digest
    )
    return head + struct.pack("<Q", xxhash.xxh3_64_intdigest(head)), packed, padding, weights


def _digest(*parts: bytes | bytearray) -> int:
    state = xxhash.xxh3_64()
    for part in parts:
        state.update(part)
    return state.intdigest()


def _read_body(path: Path, file: BinaryIO, head: bytes) -> tuple[bytes, bytes]:
    """Plans and weights of an open package behind its header."""
    version, _, plan_at, plan_bytes, weights_at, weights_bytes, digest, head_digest = struct.unpack(
        "<IIQQQQQQ", head[8:64]
    )
    whole = head_digest == xxhash.xxh3_64_intdigest(head[:56])
    size = os.fstat(file.fileno()).st_size
    if whole and version != VERSION:
        raise PackageError(
            f"{path}: format version {version}, this Tiercast reads {VERSION}; compile the model again"
        )
    parts = (b"", b"", b"", b"")
    if whole and plan_at == HEADER_BYTES and plan_at + plan_bytes <= weights_at == size - weights_bytes:
        parts = (
            file.read(plan_bytes),
            file.read(weights_at - plan_at - plan_bytes),
            file.read(weights_bytes),
            file.read(),
        )
        whole = digest == _digest(*parts)
    else:
        whole = False
    if not whole:
        raise PackageError(
            f"{path}: its checksum does not fit its content; the file is truncated or damaged, copy it again"
        )
    return parts[0], parts[2]


def _encode_model(plans: Sequence[Plan]) -> bytes:
    model: Any = schema.ModelT()
    model.plans = [_encode_plan(plan) for plan in plans]
    builder = _Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=b"TCPK")
    return bytes(builder.Output())


class _Builder(flatbuffers.Builder):  # type: ignore[misc]
    """Stores equal texts and equal arrays of numbers once: the steps and plans of a model say most things
    alike.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._stored: dict[Any, int] = {}

    def CreateString(self, s: Any, encoding: str = "utf-8", errors: str = "strict") -> int:
        """The offset of the text."""
        if s not in self._stored:
            self._stored[s] = super().CreateString(s, encoding, errors)
        return self._stored[s]

    def CreateNumpyVector(self, x: Any) -> int:
        """The offset of the array."""
        key = (x.dtype.str, x.tobytes())
        if key not in self._stored:
            self._stored[key] = super().CreateNumpyVector(x)
        return self._stored[key]


def read_facts(path: Path) -> dict[str, str]:
    """The facts of a package's (first) plan, read without the rest; empty where no package can be read.

    Nothing is verified: whoever opens the package does that.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEADER_BYTES)
            plan_at, plan_bytes = struct.unpack("<QQ", head[16:32])
            file.seek(plan_at)
            model: Any = schema.Model.GetRootAs(file.read(plan_bytes), 0)
        packed = model.Plans(0)
        facts = [packed.Facts(index) for index in range(packed.FactsLength())]
        return {_text(fact.Key()): _text(fact.Value()) for fact in facts}
    except Exception:  # the runtime says what is wrong with it
        return {}


def _encode_plan(plan: Plan) -> Any:
    packed: Any = schema.PlanT()
    packed.target = plan.target
    packed.tensors = [_encode_tensor(tensor) for tensor in plan.tensors]
    packed.steps = [_encode_step(step) for step in plan.steps]
    packed.prepare = [_encode_step(step) for step in plan.prepare]
    packed.inputs = [_encode_port(port) for port in plan.inputs]
    packed.outputs = [_encode_port(port) for port in plan.outputs]
    packed.arenaBytes, packed.preparedBytes = plan.arena_bytes, plan.prepared_bytes
    packed.cores, packed.maxThreads = CORES.index(plan.cores), plan.max_threads
    packed.facts = []
    for key, value in sorted(plan.facts.items()):
        fact: Any = schema.FactT()
        fact.key, fact.value = key, value
        packed.facts.append(fact)
    return packed


def _encode_tensor(tensor: Tensor) -> Any:
    packed: Any = schema.TensorT()
    packed.name, packed.source = tensor.name, tensor.source
    packed.dtype, packed.place = _DTYPES.index(tensor.dtype), _PLACES.index(tensor.place)
    packed.dims, packed.strides = np.array(tensor.dims, np.int64), np.array(tensor.strides, np.int64)
    packed.index, packed.offset = tensor.index, tensor.offset
    packed.perm = np.array(tensor.perm, np.uint8)
    return packed


def _encode_step(step: Step) -> Any:
    packed: Any = schema.StepT()
    packed.name, packed.op, packed.kernel, packed.refused = (
        step.name,
        step.op,
        step.kernel,
        list(step.refused),
    )
    packed.better = list(step.better)
    packed.inputs, packed.outputs = np.array(step.inputs, np.int32), np.array(step.outputs, np.int32)
    packed.params = np.frombuffer(step.params, np.uint8)
    packed.scratchBytes, packed.macs = step.scratch_bytes, step.macs
    return packed


def _encode_port(port: Port) -> Any:
    packed: Any = schema.PortT()
    packed.name, packed.dtype, packed.dims = (
        port.name,
        _DTYPES.index(port.dtype),
        np.array(port.dims, np.int64),
    )
    return packed


def _decode_plan(packed: Any) -> Plan:
    return Plan(
        target=_text(packed.target),
        tensors=[_decode_tensor(tensor) for tensor in packed.tensors or []],
        steps=[_decode_step(step) for step in packed.steps or []],
        inputs=[_decode_port(port) for port in packed.inputs or []],
        outputs=[_decode_port(port) for port in packed.outputs or []],
        arena_bytes=packed.arenaBytes,
        prepare=[_decode_step(step) for step in packed.prepare or []],
        prepared_bytes=packed.preparedBytes,
        cores=CORES[packed.cores],
        max_threads=packed.maxThreads,
        facts={_text(fact.key): _text(fact.value) for fact in packed.facts or []},
    )


def _decode_tensor(packed: Any) -> Tensor:
    return Tensor(
        name=_text(packed.name),
        dtype=_DTYPES[packed.dtype],
        dims=_ints(packed.dims),
        strides=_ints(packed.strides),
        place=_PLACES[packed.place],
        offset=packed.offset,
        index=packed.index,
        source=_text(packed.source),
        perm=_ints(packed.perm),
    )


def _decode_step(packed: Any) -> Step:
    return Step(
        name=_text(packed.name),
        op=_text(packed.op),
        kernel=_text(packed.kernel),
        refused=tuple(_text(line) for line in packed.refused or []),
        better=tuple(_text(name) for name in packed.better or []),
        inputs=_ints(packed.inputs),
        outputs=_ints(packed.outputs),
        params=bytes(bytearray(_ints(packed.params))),
        scratch_bytes=packed.scratchBytes,
        macs=packed.macs,
    )


def _decode_port(packed: Any) -> Port:
    return Port(_text(packed.name), _DTYPES[packed.dtype], _ints(packed.dims))


def _ints(values: Any) -> tuple[int, ...]:
    return tuple(int(value) for value in values) if values is not None else ()


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""
