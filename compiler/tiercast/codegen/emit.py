"""Kernel rows of C functions that TVM has emitted: their calls in planned scratch, behind a check of the
exact shapes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from tiercast.codegen.tvm import VERSIONS, Emission
from tiercast.errors import GraphError
from tiercast.extras import ExtraRow, Extras
from tiercast.isa import instruction_sets
from tiercast.kernel import KernelFamily, Row
from tiercast.lower.plan import ALIGNMENT_BYTES
from tiercast.target import Target
from tiercast.text import shape_text

_DEFINITION = re.compile(r"^TVM_DLL int32_t (\w+)\(([^)]*)\) \{$", re.MULTILINE)
_WORKSPACE = re.compile(r"TVMBackendAllocWorkspace\(\d+, \d+, \(uint64_t\)(\d+)ULL, \d+, \d+\)")
C_TYPES = {
    "f32": "float",
    "s8": "int8_t",
    "u8": "uint8_t",
    "s32": "int32_t",
    "s64": "int64_t",
    "bool": "bool",
}
_ORIGIN = f"tvm {VERSIONS['apache-tvm']}"
_HEAD = f"// Emitted by apache-tvm {VERSIONS['apache-tvm']} for one model's shapes."


@dataclass(frozen=True)
class Operand:
    """What a kernel takes or gives: our name of the element type, and the dims."""

    dtype: str
    dims: tuple[int, ...]


@dataclass(frozen=True)
class EmittedKernel:
    """A kernel family made of an emission, its code for any target, and the scratch of a call."""

    family: KernelFamily
    files: dict[str, bytes]
    scratch_bytes: int

    @property
    def op(self) -> str:
        """The op of its rows."""
        return self.family.rows[0].op

    def extras(self, target: Target) -> Extras:
        """Its rows for a target, as an extra library."""
        rows = [row for row in self.family.rows if row.isa in isas(target)]
        sources = {
            f"{self.family.name}_check.cc": (),
            **{f"{row.name}.cc": target.isas[row.isa] for row in rows},
        }
        kept = {path: data for path, data in self.files.items() if path.endswith(".h") or path in sources}
        named = tuple(ExtraRow(row.name, row.op, _ORIGIN) for row in rows)
        return Extras(target.name, target.arch, named, kept, sources)


def isas(target: Target) -> list[str]:
    """Instruction sets that plain C is worth compiling for: those whose flags let the compiler use more."""
    plain = target.isas["portable"]
    better = [isa for isa in ("avx512", "avx2", "neon") if target.isas.get(isa, plain) != plain]
    return [*better, "portable"]


def make_kernel(
    name: str, doc: str, emission: Emission, inputs: Sequence[Operand], outputs: Sequence[Operand]
) -> EmittedKernel:
    """The kernel family `name` of an emission. GraphError for element types that the C code can't have."""
    for operand in (*inputs, *outputs):
        if operand.dtype not in C_TYPES:
            raise GraphError(f"TVM's C has no {operand.dtype}; it takes {', '.join(C_TYPES)}")
    op = f"{name}_{inputs[0].dtype if inputs else outputs[0].dtype}{outputs[0].dtype}"
    rows = tuple(_row(name, op, isa, inputs, outputs) for isa in ("avx512", "avx2", "neon", "portable"))
    body, signatures, workspace = _static_functions(emission.source)
    sizes = [-(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES for size in emission.storage]
    starts = [0, *accumulate(sizes)]
    files = {
        f"{name}_body.h": body.encode(),
        f"{name}_check.cc": _check(name, inputs, outputs, starts[-1] + workspace).encode(),
    }
    calls = _calls(emission, signatures, starts, outputs)
    for row in rows:
        files[f"{row.name}.cc"] = _row_source(row, emission, calls).encode()
    family = KernelFamily(name, doc, Path(name), (), rows, (), ())
    return EmittedKernel(family, files, starts[-1] + workspace)


def _row(name: str, op: str, isa: str, inputs: Sequence[Operand], outputs: Sequence[Operand]) -> Row:
    needs = frozenset(instruction_sets()[isa].get("needs", (isa,)))
    kind = inputs[0].dtype if inputs else outputs[0].dtype
    return Row(f"{op}_{isa}", op, name, isa, needs, "", {}, kind, outputs[0].dtype)


def _static_functions(source: str) -> tuple[str, dict[str, list[str]], int]:
    """The functions for a header, with their workspaces as places behind their first argument, the parameter
    types of each, and the bytes of the largest workspace.
    """
    found = list(_DEFINITION.finditer(source))
    if not found:
        raise GraphError("TVM emitted no function")
    ends = [match.start() for match in found[1:]] + [len(source)]
    parts, signatures, largest = [], {}, 0
    for match, end in zip(found, ends, strict=True):
        name, params = match[1], match[2]
        text, used = _with_workspace(source[match.end() : end])
        largest = max(largest, used)
        signatures[name] = [param.strip().rpartition(" ")[0] for param in params.split(",") if param.strip()]
        text = re.sub(r'#ifdef __cplusplus\nextern "C"\n#endif\n?', "", text).rstrip()
        parts.append(
            f"[[maybe_unused]] static int32_t {name}(uint8_t* tc_work, {params}) {{\n  (void)tc_work;{text}\n"
        )
    return _HEAD + "\n\n" + "\n".join(parts), signatures, largest


def _with_workspace(text: str) -> tuple[str, int]:
    used = 0

    def place(match: re.Match[str]) -> str:
        nonlocal used
        at, size = used, int(match[1])
        used += -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        return f"(tc_work + {at})"

    return _WORKSPACE.sub(place, text), used


def _calls(
    emission: Emission, signatures: dict[str, list[str]], starts: Sequence[int], outputs: Sequence[Operand]
) -> str:
    places = {
        "in": lambda index: f"call->inputs[{index}].data",
        "out": lambda index: f"call->outputs[{index}].data",
        "sto": lambda index: f"(scratch + {starts[index]})",
        "const": lambda index: f"const_cast<uint8_t*>(kConstant{index})",
    }
    lines = []
    for name, args in emission.calls:
        texts = [places[place](index) for place, index in args]
        if name == "copy":
            out = outputs[args[1][1]]
            count = 1
            for dim in out.dims:
                count *= dim
            lines.append(f"  memcpy({texts[1]}, {texts[0]}, sizeof({C_TYPES[out.dtype]}) * {count});")
            continue
        cast = ", ".join(f"({kind})({text})" for kind, text in zip(signatures[name], texts, strict=True))
        lines.append(f"  {name}(scratch + {starts[-1]}, {cast});")
    return "\n".join(lines)


def _row_source(row: Row, emission: Emission, calls: str) -> str:
    constants = "\n".join(
        f"alignas(64) const uint8_t kConstant{index}[] = {{{', '.join(map(str, bytes.fromhex(data)))}}};"
        for index, (_, data) in enumerate(emission.constants)
    )
    mask = " | ".join(f"TC_CPU_{need.upper()}" for need in sorted(row.needs)) or "0"
    return (
        f"{_HEAD}\n#include <math.h>\n#include <stdbool.h>\n#include <stdint.h>\n#include <string.h>\n\n"
        '#include "simd/kernel_row.h"\n\n'
        "#define TVMBackendFreeWorkspace(device, id, data) 0\n#define restrict __restrict\n\n"
        f'namespace {{\n\n#include "{row.folder}_body.h"\n\n{constants}\n\n'
        "static int64_t work(const tc_call*) { return 1; }\n\n"
        "static void run(const tc_call* call, int64_t, int64_t) {\n"
        "  uint8_t* scratch = static_cast<uint8_t*>(call->scratch);\n  (void)scratch;\n"
        f"{calls}\n}}\n\n}}  // namespace\n\n"
        f'TC_KERNEL({row.name}, "{row.op}", {mask}, tc_check_{row.folder});\n'
    )


def _check(name: str, inputs: Sequence[Operand], outputs: Sequence[Operand], scratch_bytes: int) -> str:
    rules = [
        f"  TC_RULE(is_operand(call->{side}[{index}], {_ENUM[item.dtype]}, {len(item.dims)}, "
        f"{{{', '.join(map(str, item.dims)) or '0'}}}), "
        f'"{name}: {side[:-1]} {index} is not dense {item.dtype} {shape_text(item.dims)}");'
        for side, items in (("inputs", inputs), ("outputs", outputs))
        for index, item in enumerate(items)
    ]
    return (
        f'{_HEAD}\n#include "views/rules.h"\n\nnamespace {{\n\n'
        "bool is_operand(const tc_view& view, int32_t dtype, int32_t rank,\n"
        "                const int64_t (&dims)[TC_MAX_RANK]) {\n"
        "  if (view.dtype != dtype || view.rank != rank || !dense(view)) return false;\n"
        "  for (int32_t i = 0; i < rank; ++i)\n    if (view.dims[i] != dims[i]) return false;\n"
        "  return true;\n}\n\n"
        f'}}  // namespace\n\nextern "C" const char* tc_check_{name}(const tc_call* call) {{\n'
        f'  TC_RULE(call->params_bytes == 4, "{name}: params have the wrong size");\n'
        f"  TC_RULE(sane_call(call, {len(inputs)}, {len(inputs)}, {len(outputs)}), "
        f'"{name}: operands are missing or out of range");\n'
        f"  TC_RULE(call->scratch_bytes >= {scratch_bytes}, "
        f'"{name}: needs {scratch_bytes} bytes of scratch");\n'
        + "\n".join(rules)
        + "\n  return nullptr;\n}\n"
    )


_ENUM = {name: f"TC_{name.upper()}" for name in C_TYPES}
