"""Reads and writes .tcpkg files (layout: runtime/package/package.fbs)."""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import xxhash

from tiercast.errors import PackageError
from tiercast.lower.plan import NUMPY_DTYPES, Plan, Port, Step, Tensor
from tiercast.package import schema
from tiercast.target import CORES

MAGIC = b"TIERCAST"
VERSION = 1
HEADER_BYTES = 64
SEGMENT_BYTES = 16384  # Android's largest page: the weights map straight from the file on every device
_DTYPES = tuple(NUMPY_DTYPES)
_PLACES = ("arena", "weights", "input", "output", "prepared")


def encode(plan: Plan) -> bytes:
    """The package file's bytes."""
    packed = _encode_plan(plan)
    weights_at = -(-(HEADER_BYTES + len(packed)) // SEGMENT_BYTES) * SEGMENT_BYTES
    body = packed + bytes(weights_at - HEADER_BYTES - len(packed)) + plan.weights
    head = MAGIC + struct.pack(
        "<IIQQQQQ",
        VERSION,
        0,
        HEADER_BYTES,
        len(packed),
        weights_at,
        len(plan.weights),
        xxhash.xxh3_64_intdigest(body),
    )
    return head + struct.pack("<Q", xxhash.xxh3_64_intdigest(head)) + body


def write_package(plan: Plan, path: Path) -> Path:
    """Writes the package at `path` whole or not at all (a temporary file beside it, synced, then renamed).

    PackageError names the path and the reason when the folder can't be written or the disk is full.
    """
    return write_atomically(path, encode(plan))


def write_atomically(path: Path, data: bytes) -> Path:
    """Writes a file whole or not at all; PackageError names the path and the reason."""
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise PackageError(
            f"can't write {path}: {error.strerror or error} ({len(data)} bytes); "
            "choose a writable --output with enough space"
        ) from error
    return path


def read_package(path: Path) -> Plan:
    """The plan of a package, for inspection. The runtime does its own, full verification before it runs one.

    PackageError on a file that is not a package, is truncated or damaged.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PackageError(f"can't read {path}: {error.strerror or error}") from error
    if len(data) < HEADER_BYTES or data[:8] != MAGIC:
        raise PackageError(
            f"{path}: not a Tiercast package (it must begin with {MAGIC.decode()!r}); "
            "compile one with `tiercast compile`"
        )
    version, _, plan_at, plan_bytes, weights_at, weights_bytes, digest, head = struct.unpack(
        "<IIQQQQQQ", data[8:64]
    )
    if head != xxhash.xxh3_64_intdigest(data[:56]) or digest != xxhash.xxh3_64_intdigest(data[64:]):
        raise PackageError(
            f"{path}: its checksum does not fit its content; the file is truncated or damaged, copy it again"
        )
    if version != VERSION:
        raise PackageError(
            f"{path}: format version {version}, this Tiercast reads {VERSION}; compile the model again"
        )
    try:
        plan = _decode_plan(data[plan_at : plan_at + plan_bytes])
    except Exception as error:  # a hostile file with right checksums: the decoder may fail anywhere
        raise PackageError(f"{path}: its plan can't be decoded ({error!r})") from error
    plan.weights = data[weights_at : weights_at + weights_bytes]
    return plan


def _encode_plan(plan: Plan) -> bytes:
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
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(packed.Pack(builder), file_identifier=b"TCPK")
    return bytes(builder.Output())


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


def _decode_plan(data: bytes) -> Plan:
    packed: Any = schema.PlanT.InitFromObj(schema.Plan.GetRootAs(data, 0))
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
