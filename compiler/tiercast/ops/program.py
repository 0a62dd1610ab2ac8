"""The small elementwise programs of `Pointwise`: text form, inlining one into another, types and kernel
encoding.

A program is a list of lines `<opcode> <operand>...`. Line k writes the value `t<k>`; the last line's value
is the output.
Operands: `i<n>` an input of the node, `t<k>` an earlier line's value, anything else a number (also inf,
-inf, nan).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tiercast.errors import GraphError
from tiercast.kernel import enums

MAX_INPUTS = 16
MAX_REGISTERS = 16
MAX_LITERALS = 32
MAX_INSTRUCTIONS = 32
TILE_ELEMENTS = 1024  # kTile of kernels/pointwise/pointwise.h

_TERNARY = frozenset({"where", "clip", "fma", "hard_sigmoid"})
_BINARY = frozenset(
    [
        "add",
        "sub",
        "mul",
        "div",
        "pow",
        "max",
        "min",
        "mod",
        "fmod",
        "equal",
        "less",
        "less_equal",
        "greater",
        "greater_equal",
        "and",
        "or",
        "xor",
        "prelu",
        "leaky_relu",
        "elu",
        "thresholded_relu",
        "bit_and",
        "bit_or",
        "bit_xor",
        "shift_left",
        "shift_right",
    ]
)
_TRUTH = frozenset(
    ["equal", "less", "less_equal", "greater", "greater_equal", "and", "or", "xor", "not", "isnan", "isinf"]
)

Operand = str | float | int


@dataclass(frozen=True)
class Instruction:
    """One line: `op` and its operands, each "i<n>", "t<k>" or a number."""

    op: str
    operands: tuple[Operand, ...]

    def __str__(self) -> str:
        return " ".join([self.op, *(item if isinstance(item, str) else repr(item) for item in self.operands)])


Program = tuple[Instruction, ...]


def arity(op: str) -> int:
    """How many operands an opcode takes; GraphError when it does not exist."""
    if op not in enums()["pointwise_op"]:
        raise GraphError(
            f"pointwise program: unknown opcode {op!r}; known: {', '.join(enums()['pointwise_op'])}"
        )
    return 3 if op in _TERNARY else 2 if op in _BINARY else 1


def parse(lines: Sequence[str]) -> Program:
    """The program of text lines; GraphError names the first line that breaks the form."""
    program: list[Instruction] = []
    for index, line in enumerate(lines):
        op, *words = line.split()
        operands = tuple(_operand(word, line) for word in words)
        if len(operands) != arity(op):
            raise GraphError(f"pointwise program line {index} {line!r}: {op} takes {arity(op)} operands")
        late = [
            word
            for word in operands
            if _index(word, "t") is not None and not 0 <= (_index(word, "t") or 0) < index
        ]
        if late:
            raise GraphError(
                f"pointwise program line {index} {line!r}: {late[0]} is not an earlier line's value"
            )
        program.append(Instruction(op, operands))
    if not program:
        raise GraphError("pointwise program: it is empty; give at least one line such as 'relu i0'")
    return tuple(program)


def text(program: Program) -> list[str]:
    """The inverse of `parse`."""
    return [str(instruction) for instruction in program]


def input_count(program: Program) -> int:
    """One more than the highest input that is read; 0 when none is."""
    read = [_index(item, "i") for line in program for item in line.operands]
    return max((index + 1 for index in read if index is not None), default=0)


def rename(program: Program, inputs: Mapping[int, Operand]) -> Program:
    """The program with each input n replaced by `inputs[n]` where given (another input or a number)."""

    def renamed(item: Operand) -> Operand:
        index = _index(item, "i")
        return inputs.get(index, item) if index is not None else item

    return tuple(replace(line, operands=tuple(renamed(item) for item in line.operands)) for line in program)


def inline(
    inner: Program, outer: Program, at: int, inner_inputs: Sequence[int], outer_inputs: Sequence[int]
) -> Program:
    """`outer` with its input `at` computed by `inner`.

    inner_inputs[n] and outer_inputs[n] are the numbers that their inputs have in the result
    (outer_inputs[at] is ignored).
    The fused node's inputs are the caller's choice, so an operand both read is passed once:

        inline(parse(["relu i0"]), parse(["add i0 i1"]), 1, [1], [0, 1])  ->  relu i1; add i0 t0
    """
    head = rename(inner, {n: f"i{to}" for n, to in enumerate(inner_inputs)})
    tail = rename(
        outer, {n: f"i{to}" if n != at else f"t{len(head) - 1}!" for n, to in enumerate(outer_inputs)}
    )
    return head + tuple(
        replace(line, operands=tuple(_shifted(item, len(head)) for item in line.operands)) for line in tail
    )


def fits(program: Program) -> str | None:
    """None when one kernel call can run the program, else the limit it breaks."""
    literals = {repr(item) for line in program for item in line.operands if not isinstance(item, str)}
    if len(program) > MAX_INSTRUCTIONS:
        return f"{len(program)} instructions are more than {MAX_INSTRUCTIONS}"
    if input_count(program) > MAX_INPUTS:
        return f"{input_count(program)} inputs are more than {MAX_INPUTS}"
    if len(literals) > MAX_LITERALS:
        return f"{len(literals)} numbers are more than {MAX_LITERALS}"
    _, registers = _allocate(program)
    return f"{registers} live values are more than {MAX_REGISTERS}" if registers > MAX_REGISTERS else None


def result_kind(program: Program, inputs: Sequence[str]) -> str:
    """The output's dtype from the inputs' dtypes ("f32", "bool", "s64"...); GraphError when operands of an
    opcode differ."""
    kinds: list[str] = []
    for line in program:
        values = line.operands[1:] if line.op == "where" else line.operands
        known = {_kind(item, inputs, kinds) for item in values} - {None}
        if len(known) > 1:
            raise GraphError(
                f"pointwise program line {line}: operands are {sorted(map(str, known))}; cast first"
            )
        own = next(iter(known), None) or "f32"
        kinds.append("bool" if line.op in _TRUTH else own)
    return kinds[-1]


def encode(program: Program, whole: bool) -> dict[str, object]:
    """The params of kernels/pointwise: literals as f32, or as s64 when `whole`. GraphError when it does
    not `fits`."""
    refusal = fits(program)
    if refusal:
        raise GraphError(f"pointwise program: {refusal}")
    homes, registers = _allocate(program)
    literals: list[Operand] = []
    code: list[int] = []
    for index, line in enumerate(program):
        numbers = [_number(item, homes, literals) for item in line.operands]
        a, b, c = (*numbers, *[numbers[0]] * (3 - len(numbers)))
        code += [enums()["pointwise_op"].index(line.op) | homes[index] << 8 | a << 16 | b << 24, c]
    packed = b"".join(
        struct.pack("<q", int(item)) if whole else struct.pack("<fi", float(item), 0) for item in literals
    )
    return {
        "instruction_count": len(program),
        "register_count": registers,
        "literal_count": len(literals),
        "code": code,
        "literals": list(struct.unpack(f"<{len(literals) * 2}i", packed)),
    }


def scratch_bytes(inputs: int, params: Mapping[str, object]) -> int:
    """Scratch of one thread: `scratch_need` of kernels/pointwise/pointwise.h."""
    registers, literals = params["register_count"], params["literal_count"]
    assert isinstance(registers, int) and isinstance(literals, int)
    return (inputs + registers + literals + 1) * TILE_ELEMENTS * 4


def _operand(word: str, line: str) -> Operand:
    if word[0] in "it" and word[1:].isdigit():
        return word
    try:
        return int(word) if word.lstrip("+-").isdigit() else float(word)
    except ValueError:
        raise GraphError(
            f"pointwise program line {line!r}: {word!r} is neither i<n>, t<k> nor a number"
        ) from None


def _index(item: Operand, letter: str) -> int | None:
    return int(item[1:]) if isinstance(item, str) and item[0] == letter and item[1:].isdigit() else None


def _shifted(item: Operand, by: int) -> Operand:
    if isinstance(item, str) and item.endswith("!"):  # already a value of the inlined head
        return item[:-1]
    index = _index(item, "t")
    return item if index is None else f"t{index + by}"


def _kind(item: Operand, inputs: Sequence[str], kinds: Sequence[str]) -> str | None:
    if not isinstance(item, str):
        return None
    read, made = _index(item, "i"), _index(item, "t")
    return inputs[read] if read is not None else kinds[made or 0]


def _allocate(program: Program) -> tuple[list[int], int]:
    """The register of each line's value (the last needs none: 0) and how many registers there are."""
    last_use = {
        made: at
        for at, line in enumerate(program)
        for item in line.operands
        if (made := _index(item, "t")) is not None
    }
    free: list[int] = []
    homes: list[int] = []
    count = 0
    for at, line in enumerate(program[:-1]):
        dying = {
            made for item in line.operands if (made := _index(item, "t")) is not None and last_use[made] == at
        }
        free += [homes[made] for made in dying]  # elementwise, so a result may replace its own operand
        if not free:
            free.append(count)
            count += 1
        homes.append(free.pop())
        if at not in last_use:  # a value nobody reads
            free.append(homes[-1])
    return [*homes, 0], count


def _number(item: Operand, homes: Sequence[int], literals: list[Operand]) -> int:
    read, made = _index(item, "i"), _index(item, "t")
    if read is not None:
        return read
    if made is not None:
        return MAX_INPUTS + homes[made]
    # repr tells 0.0 from -0.0 and finds a NaN again.
    position = next((at for at, seen in enumerate(literals) if repr(seen) == repr(item)), len(literals))
    if position == len(literals):
        literals.append(item)
    return MAX_INPUTS + MAX_REGISTERS + position
