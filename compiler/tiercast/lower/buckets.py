"""The plans of one package: what they share, and which of them takes given inputs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tiercast.errors import UsageError
from tiercast.lower.plan import ALIGNMENT_BYTES, NUMPY_DTYPES, Plan, Step, Tensor
from tiercast.text import shape_text


@dataclass(frozen=True)
class Sharing:
    """Bytes of constants in a package's weights segment.

    own_bytes: what each plan needs; shared_bytes: what of that another needs as
    well; total_bytes: of the segment, where it lies once.
    """

    own_bytes: tuple[int, ...]
    shared_bytes: tuple[int, ...]
    total_bytes: int


def measure_sharing(plans: Sequence[Plan]) -> Sharing:
    """What plans of one package have in common."""
    makers = _makers(plans)
    reads = [_constants(plan, makers) for plan in plans]
    readers = Counter(offset for constants in reads for offset in constants)
    return Sharing(
        tuple(sum(constants.values()) for constants in reads),
        tuple(sum(size for offset, size in constants.items() if readers[offset] > 1) for constants in reads),
        len(plans[0].weights),
    )


def share_prepared(plans: Sequence[Plan]) -> None:
    """Lays out the prepared constants of all plans together, in place: equal ones are made once.

    A prepare step goes where an earlier plan has one of the same kernel and params on the same constants. The
    prepare steps of all plans run in the order of the plans, before the first run of any.
    """
    made: dict[object, int] = {}
    total = 0
    for plan in plans:
        places: dict[int, int] = {}  # a prepared tensor's offset in this plan -> in all
        kept: list[Step] = []
        for step in plan.prepare:
            inputs = tuple(
                _identity(plan.tensors[index], places) if index >= 0 else None for index in step.inputs
            )
            outputs = [plan.tensors[index] for index in step.outputs]
            key = (
                step.op,
                step.kernel,
                step.params,
                inputs,
                tuple((item.dtype, item.dims) for item in outputs),
            )
            if key not in made:
                made[key] = total
                kept.append(step)
                total += sum(_padded(_bytes(item)) for item in outputs)
            offset = made[key]
            for item in outputs:
                places[item.offset] = offset
                offset += _padded(_bytes(item))
        plan.tensors = [
            replace(item, offset=places[item.offset]) if item.place == "prepared" else item
            for item in plan.tensors
        ]
        plan.prepare = kept
    for plan in plans:
        plan.prepared_bytes = total


def find_bucket(plans: Sequence[Plan], shapes: Mapping[str, Sequence[int]], package: object) -> int:
    """Number of the plan whose inputs have exactly these shapes; inputs that are not named fit any.

    UsageError lists the buckets where none has. The only plan of a package is the answer whatever the shapes:
    who runs it says what is wrong with them. package: how errors name it.
    """
    if len(plans) == 1:
        return 0
    for number, plan in enumerate(plans):
        if all(tuple(shapes.get(port.name, port.dims)) == port.dims for port in plan.inputs):
            return number
    given = " ".join(f"{name} {shape_text(shape)}" for name, shape in shapes.items())
    raise UsageError(
        f"{package}: no bucket takes {given}; shapes must match exactly, nothing is padded; its buckets: "
        f"{buckets_text(plans)}"
    )


def buckets_text(plans: Sequence[Plan]) -> str:
    """The input shapes of each bucket: "0: image 1x3x256x256; 1: image 1x3x512x256"."""
    return "; ".join(f"{number}: {inputs_text(plan)}" for number, plan in enumerate(plans))


def inputs_text(plan: Plan) -> str:
    """The input shapes of a plan: "image 1x3x256x256 mask 1x1x256x256"."""
    return " ".join(f"{port.name} {shape_text(port.dims)}" for port in plan.inputs) or "no inputs"


_Maker = tuple[Plan, Step]


def _makers(plans: Sequence[Plan]) -> dict[int, _Maker]:
    """The prepare step that makes what begins at each prepared offset; plans lie in one such segment."""
    return {
        plan.tensors[index].offset: (plan, step)
        for plan in plans
        for step in plan.prepare
        for index in step.outputs
    }


def _constants(plan: Plan, makers: Mapping[int, _Maker]) -> dict[int, int]:
    """Offset and bytes of each constant that a plan's run needs, prepared or not."""
    found: dict[int, int] = {}
    waiting = [(plan, step) for step in plan.steps]
    seen: set[int] = set()
    while waiting:
        owner, step = waiting.pop()
        for tensor in (owner.tensors[index] for index in step.inputs if index >= 0):
            if tensor.place == "weights":
                found[tensor.offset] = max(found.get(tensor.offset, 0), _bytes(tensor))
            elif tensor.place == "prepared" and tensor.offset not in seen:
                seen.add(tensor.offset)
                waiting.append(makers[tensor.offset])
    return found


def _identity(tensor: Tensor, places: Mapping[int, int]) -> object:
    offset = places[tensor.offset] if tensor.place == "prepared" else tensor.offset
    return tensor.place, offset, tensor.dtype, tensor.dims, tensor.strides


def _bytes(tensor: Tensor) -> int:
    """From the first element to the last, at least those of a dense one."""
    reach = sum((dim - 1) * stride for dim, stride in zip(tensor.dims, tensor.strides, strict=True)) + 1
    return min(reach, math.prod(tensor.dims)) * NUMPY_DTYPES[tensor.dtype].itemsize


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
