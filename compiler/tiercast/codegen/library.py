"""Extra kernel libraries (see `extras.py`): rendered from kernel families, compiled for this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jinja2

from tiercast.codegen.render import checks, enums_header, params_header, render_row
from tiercast.errors import ToolchainError, UsageError
from tiercast.extras import TABLE, ExtraRow, Extras, library_name, write_files
from tiercast.kernel import KernelFamily
from tiercast.paths import room
from tiercast.target import Target

# As runtime/cmake/kernels.cmake compiles our own.
_FLAGS = [
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-threadsafe-statics",
    "-fvisibility=hidden",
    "-ffunction-sections",
    "-fdata-sections",
]
_COMPILERS = ("clang++-19", "clang++", "g++")


def render_families(target: Target, families: Iterable[KernelFamily]) -> Extras:
    """The rows that a target's architecture has of these families (known to `kernel.families`), as a library.

    UsageError names the template and the line where one can't be rendered.
    """
    files: dict[str, bytes] = {}
    sources: dict[str, tuple[str, ...]] = {}
    rows: list[ExtraRow] = []
    for family in families:
        with _template_errors(family):
            files[f"{family.name}_params.h"] = params_header(family).encode()
            for path, text in checks(family).items():
                files[path], sources[path] = text.encode(), ()
            for row in family.rows:
                if row.isa in target.isas:
                    path = f"{row.name}.cc"
                    files[path], sources[path] = render_row(row).encode(), target.isas[row.isa]
                    rows.append(
                        ExtraRow(
                            row.name, row.op, f"{family.folder.parent.parent.name}/kernels/{family.name}"
                        )
                    )
        for header in sorted(family.folder.glob("*.h")):
            files[f"{family.name}/{header.name}"] = header.read_bytes()
    return with_table(Extras(target.name, target.arch, tuple(rows), files, sources))


def with_table(extras: Extras) -> Extras:
    """The library with the function that hands out its table, `tc_library_extra`, and the params' enums."""
    names = [row.name for row in extras.rows]
    externs = "\n".join(f'extern "C" const tc_kernel {name};' for name in names)
    entries = "\n".join(f"    &{name}," for name in names)
    table = (
        "// Rendered: the table of an extra kernel library, for those who load it.\n"
        '#include "tiercast/library.h"\n\n'
        f"{externs}\n\nnamespace {{\nconst tc_kernel* const kKernels[] = {{\n{entries}\n}};\n"
        "const tc_library kLibrary = {kKernels, sizeof(kKernels) / sizeof(kKernels[0]), "
        f'"{extras.target}"}};\n'
        "}  // namespace\n\n"
        'extern "C" const tc_library* tc_library_extra(int32_t abi) {\n'
        "  return abi == TC_KERNEL_ABI ? &kLibrary : nullptr;\n}\n"
    )
    files = {**extras.files, TABLE: table.encode(), "tc_enums.h": enums_header().encode()}
    return Extras(
        extras.target, extras.arch, extras.rows, files, {**extras.sources, TABLE: ()}, extras.objects
    )


def compile_host_library(extras: Extras, folder: Path) -> Path:
    """Compiles a library of this machine's target as a shared one in `folder`, and returns its path.

    ToolchainError when there is no C++ compiler ($CXX, clang++ or g++), or with what it said.
    """
    compiler = _compiler()
    write_files(extras, folder)
    includes = [f"-I{folder}", f"-I{room('kernels')}", f"-I{room('runtime') / 'include'}"]
    objects = [str(folder / path) for path in extras.objects]
    for path, flags in extras.sources.items():
        made = folder / f"{path}.o"
        _run([compiler, *_FLAGS, *flags, *includes, "-c", str(folder / path), "-o", str(made)])
        objects.append(str(made))
    library = folder / library_name(extras.digest)
    _run([compiler, "-shared", "-Wl,-Bsymbolic", "-Wl,--gc-sections", "-o", str(library), *objects, "-lm"])
    return library


@contextmanager
def host_library(extras: Extras) -> Iterator[Path]:
    """`compile_host_library` in a folder that lasts as long as the context."""
    with tempfile.TemporaryDirectory(prefix="tiercast-kernels-") as folder:
        yield compile_host_library(extras, Path(folder))


def _compiler() -> str:
    given = os.environ.get("CXX")
    for name in [given] if given else _COMPILERS:
        found = shutil.which(name)
        if found:
            return found
    raise ToolchainError(
        f"no C++ compiler for extra kernels: {given or ', '.join(_COMPILERS)} not found on PATH; "
        "on Debian: apt-get install clang-19"
    )


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        tail = "\n".join(done.stderr.splitlines()[:40])
        raise ToolchainError(f"`{' '.join(command)}` failed with exit code {done.returncode}:\n{tail}")


@contextmanager
def _template_errors(family: KernelFamily) -> Iterator[None]:
    try:
        yield
    except jinja2.TemplateSyntaxError as error:
        raise UsageError(f"{error.filename or family.folder}:{error.lineno}: {error.message}") from error
    except jinja2.TemplateNotFound as error:
        raise UsageError(f"{family.folder}: there is no template {error.name}") from error
    except jinja2.TemplateError as error:
        raise UsageError(f"{family.folder}: {type(error).__name__}: {error.message}") from error
