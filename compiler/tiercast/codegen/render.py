"""Renders kernels/<op>/*.j2 for a target.

Row sources, one check per op, params structs, enums and the library table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from tiercast.errors import UsageError
from tiercast.kernel import KernelFamily, Param, Row, enums, families
from tiercast.paths import room
from tiercast.target import Target

LIBRARY = "_"  # the group of files that belong to no op


@dataclass(frozen=True)
class Source:
    """One generated file.

    The op folder it comes from, its path under the output folder and its compile flags.
    """

    op: str
    path: str
    flags: tuple[str, ...] = ()


def selected_rows(target: Target, only: frozenset[str] | None = None) -> list[Row]:
    """Rows of the target's library in order of merit.

    `only` (row names) selects, `portable` rows of their ops stay as fallback.
    """
    rows = [row for family in families().values() for row in family.rows if row.isa in target.isas]
    if only is None:
        return rows
    unknown = only - {row.name for row in rows}
    if unknown:
        raise UsageError(f"kernels: target {target.name} has no rows {', '.join(sorted(unknown))}")
    wanted_ops = {row.op for row in rows if row.name in only}
    return [row for row in rows if row.name in only or (row.op in wanted_ops and row.isa == "portable")]


def sources(target: Target, only: frozenset[str] | None = None) -> list[Source]:
    """Every generated file of a target's library."""
    rows = selected_rows(target, only)
    found = [Source(LIBRARY, "tc_enums.h"), Source(LIBRARY, "library.cc")]
    for name in dict.fromkeys(row.folder for row in rows):
        found += [Source(name, f"{name}_params.h")]
        found += [Source(name, path) for path in checks(families()[name])]
    return found + [Source(row.folder, f"{row.name}.cc", target.isas[row.isa]) for row in rows]


def render(
    target: Target,
    out: Path,
    op: str | None = None,
    only: frozenset[str] | None = None,
    extra: Sequence[str] = (),
) -> list[Path]:
    """Writes the generated files (of one op folder, of LIBRARY, or all) under `out`.

    extra: names of rows of an extra library (`extras.py`) that the table holds behind ours.
    Unchanged files keep their time stamp.
    """
    return [_write(out / path, text) for path, text in _texts(target, op, only, extra)]


def render_row(row: Row) -> str:
    """The C++ source of one row."""
    family = families()[row.folder]
    text = (
        _environment(family.folder)
        .get_template(row.template)
        .render(row=_row_facts(row), op=family, isa=row.isa, **row.tile)
    )
    half = _half_prologue(row.folder) if row.in_dtype == "f16" else ""
    return (
        f"// Rendered from kernels/{row.folder}/{row.template} for {row.name}; edit the template.\n"
        f"{half}{text}\n"
    )


def _half_prologue(folder: str) -> str:
    """What makes a row or a check one over f16 operands (kernels/simd/element.h), with a check of its own."""
    return f"#define TC_ELEMENT_F16\n#define tc_check_{folder} tc_check_{folder}_f16\n"


def checks(family: KernelFamily) -> dict[str, str]:
    """File name -> source of an op's check functions: for its f32 or integer rows, and for those over f16."""
    template = _environment(family.folder).get_template("check.cc.j2")
    made = {f"{family.name}_check.cc": template.render(op=family, half=False) + "\n"}
    if any(row.in_dtype == "f16" for row in family.rows):
        text = template.render(op=family, half=True)
        made[f"{family.name}_f16_check.cc"] = f"{_half_prologue(family.name)}{text}\n"
    return made


def _texts(
    target: Target, op: str | None, only: frozenset[str] | None, extra: Sequence[str]
) -> Iterator[tuple[str, str]]:
    rows = selected_rows(target, only)
    if op in (None, LIBRARY):
        yield "tc_enums.h", enums_header()
        yield "library.cc", _library(target, [*(row.name for row in rows), *extra])
    for name in dict.fromkeys(row.folder for row in rows):
        if op not in (None, name):
            continue
        family = families()[name]
        yield f"{name}_params.h", params_header(family)
        yield from checks(family).items()
        for row in rows:
            if row.folder == name:
                yield f"{row.name}.cc", render_row(row)


def _environment(folder: Path) -> jinja2.Environment:
    # `${x}`, `//% for` and `//# note` leave C++ readable to editors and formatters.
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, room("kernels")]),
        undefined=jinja2.StrictUndefined,
        variable_start_string="${",
        variable_end_string="}",
        block_start_string="/*%",
        block_end_string="%*/",
        comment_start_string="/*#",
        comment_end_string="#*/",
        line_statement_prefix="//%",
        line_comment_prefix="//#",
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )


def _row_facts(row: Row) -> dict[str, object]:
    mask = " | ".join(f"TC_CPU_{need.upper()}" for need in sorted(row.needs)) or "0"
    return {**vars(row), "tile": dict(row.tile), "needs_mask": mask}


def enums_header() -> str:
    """The C enums of kernels/enums.toml."""
    blocks = []
    for name, values in enums().items():
        lines = (f"  TC_{name.upper()}_{value.upper()} = {index}," for index, value in enumerate(values))
        blocks.append("\n".join([f"enum tc_{name} {{", *lines, "};"]))
    return "// Rendered from kernels/enums.toml.\n#pragma once\n\n" + "\n\n".join(blocks) + "\n"


def params_header(family: KernelFamily) -> str:
    """The C struct of a family's params."""
    fields = "\n".join(f"  {_field(param)}" for param in family.params)
    return (
        f"// Rendered from kernels/{family.name}/kernels.toml.\n#pragma once\n"
        '#include <stdint.h>\n#include "tc_enums.h"\n\n'
        f"typedef struct tc_{family.name}_params {{\n{fields or '  int32_t unused;'}\n}} "
        f"tc_{family.name}_params;\n"
    )


def _field(param: Param) -> str:
    kind = "int32_t" if param.kind == "i32" else "float"
    comment = f"  // enum tc_{param.enum}" if param.enum else ""
    return f"{kind} {param.name}{f'[{param.length}]' if param.is_array else ''};{comment}"


def _library(target: Target, names: Sequence[str]) -> str:
    externs = "\n".join(f'extern "C" const tc_kernel {name};' for name in names)
    table = "\n".join(f"    &{name}," for name in names)
    return (
        "// Rendered: the kernel library's table, rows of each op in order of merit.\n"
        '#include "tiercast/library.h"\n\n'
        f"{externs}\n\n"
        f"namespace {{\nconst tc_kernel* const kKernels[] = {{\n{table}\n}};\n"
        "const tc_library kLibrary = {kKernels, sizeof(kKernels) / sizeof(kKernels[0]), "
        f'"{target.name}"}};\n}}  // namespace\n\n'
        'extern "C" const tc_library* tc_library_full(void) { return &kLibrary; }\n'
    )


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    return path
