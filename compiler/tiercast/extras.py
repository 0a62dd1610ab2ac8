"""Extra kernel libraries: code for rows that no library of ours has, beside the package that calls them.

`model.kernels/` beside `model.tcpkg` holds sources or objects of kernel rows with the contract of
runtime/include/tiercast/kernel.h, and kernels.json, which says what they are. On the host its library is
loaded beside the built-in table; for other targets `tiercast build --for model.tcpkg` links it. A package
itself stays data only: it names the rows, and the digest of the code that it was compiled for.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import xxhash

from tiercast.errors import PackageError

MANIFEST = "kernels.json"
TABLE = "library_extra.cc"  # a loaded library's table; one that is linked in has its rows in the full table
ROWS, ORIGIN, DIGEST = "extra_kernels", "extra_kernels_from", "extra_kernels_digest"  # keys of a plan's facts
_FORMAT = 1


@dataclass(frozen=True)
class ExtraRow:
    """A kernel row of an extra library: its name, its op, and where it is from ("my_ops/kernels/x")."""

    name: str
    op: str
    origin: str


@dataclass(frozen=True)
class Extras:
    """An extra library for one target.

    files: path within the folder -> content; sources: those to compile, each with its flags; objects: those
    to link. Files that are neither are headers. `arch` is the target's.
    """

    target: str
    arch: str
    rows: tuple[ExtraRow, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict, hash=False)
    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    objects: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """What tells this code from any other."""
        hasher = xxhash.xxh3_64()
        for path, data in sorted(self.files.items()):
            hasher.update(f"{path}\0{len(data)}\0".encode() + data)
        hasher.update(repr((self.target, self.rows, sorted(self.sources.items()), self.objects)).encode())
        return hasher.hexdigest()

    def facts(self, called: Iterable[str]) -> dict[str, str]:
        """What a plan that calls these kernels says of them; empty when it calls none of the library's."""
        mine = {row.name: row for row in self.rows}
        used = sorted(set(called) & set(mine))
        if not used:
            return {}
        origins = ", ".join(sorted({mine[name].origin for name in used}))
        return {ROWS: ", ".join(used), ORIGIN: origins, DIGEST: self.digest}


def folder_beside(package: Path) -> Path:
    """Where the extra library of a package lies."""
    return package.with_suffix(".kernels")


def library_name(digest: str) -> str:
    """The host's shared library in the folder; a new one gets a new name, for loaders know files by name."""
    return f"libkernels-{digest}.so"


def merge(libraries: Iterable[Extras]) -> Extras:
    """One library of several for one target, without the table that is for loading.

    PackageError when two hold different code under one name.
    """
    found = list(libraries)
    files: dict[str, bytes] = {}
    rows: dict[str, ExtraRow] = {}
    sources: dict[str, tuple[str, ...]] = {}
    for item in found:
        for path, data in item.files.items():
            if path == TABLE:
                continue
            if files.setdefault(path, data) != data:
                raise PackageError(
                    f"two packages bring different code as {path}; compile both again with the same ops"
                )
        rows.update({row.name: row for row in item.rows})
        sources.update({path: flags for path, flags in item.sources.items() if path != TABLE})
    objects = tuple(dict.fromkeys(path for item in found for path in item.objects))
    return Extras(found[0].target, found[0].arch, tuple(rows.values()), files, sources, objects)


def write_extras(extras: Extras, folder: Path, built: Path | None = None) -> Path:
    """Writes the folder whole or not at all, in place of the one there; built: the host's shared library.

    PackageError names the folder and the reason.
    """
    temporary: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        write_files(extras, temporary)
        if built is not None:
            shutil.copy2(built, temporary / library_name(extras.digest))
        temporary.chmod(0o755)
        if folder.exists():
            if not (folder / MANIFEST).is_file() and any(folder.iterdir()):
                raise OSError(0, f"it holds other things than kernels (no {MANIFEST})")
            shutil.rmtree(folder)
        temporary.rename(folder)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                shutil.rmtree(temporary)
        raise PackageError(
            f"can't write {folder}: {error.strerror or error}; choose another --output"
        ) from error
    return folder


def write_files(extras: Extras, folder: Path) -> None:
    """Writes manifest and files; those that are there with the same content keep their time stamp."""
    facts = {
        "format": _FORMAT,
        "target": extras.target,
        "arch": extras.arch,
        "digest": extras.digest,
        "rows": [asdict(row) for row in extras.rows],
        "files": sorted(extras.files),
        "sources": {path: list(flags) for path, flags in extras.sources.items()},
        "objects": list(extras.objects),
    }
    for path, data in {**extras.files, MANIFEST: (json.dumps(facts, indent=1) + "\n").encode()}.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.is_file() or file.read_bytes() != data:
            file.write_bytes(data)


def read_extras(folder: Path) -> Extras:
    """The library in a folder; PackageError when it is incomplete, changed or of another format."""
    try:
        facts: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        if facts["format"] != _FORMAT:
            raise PackageError(
                f"{folder}: format {facts['format']}, this Tiercast reads {_FORMAT}; compile again"
            )
        found = Extras(
            target=facts["target"],
            arch=facts["arch"],
            rows=tuple(ExtraRow(**row) for row in facts["rows"]),
            files={path: _inside(folder, path).read_bytes() for path in facts["files"]},
            sources={path: tuple(flags) for path, flags in facts["sources"].items()},
            objects=tuple(facts["objects"]),
        )
    except OSError as error:
        raise PackageError(
            f"{error.filename}: {error.strerror}; {folder} is incomplete, compile again"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PackageError(
            f"{folder / MANIFEST}: not a manifest of kernels ({error!r}); compile again"
        ) from error
    if found.digest != facts["digest"]:
        raise PackageError(f"{folder}: its files are not those that kernels.json names; compile again")
    return found


def needed(package: Path, facts: Mapping[str, str]) -> Path | None:
    """The folder of the extra library that a package calls, None when it calls none.

    facts: of the package's plan. PackageError when the folder is missing, or is of another compilation.
    """
    if ROWS not in facts:
        return None
    folder = folder_beside(package)
    needs = f"{package} calls the kernels {facts[ROWS]} ({facts.get(ORIGIN, '?')}), which Tiercast has not"
    if not (folder / MANIFEST).is_file():
        raise PackageError(
            f"{needs}; {folder}, which `tiercast compile` wrote beside it, is missing: copy it along, or "
            "compile again"
        )
    try:
        digest = json.loads((folder / MANIFEST).read_text()).get("digest")
    except (OSError, ValueError, AttributeError) as error:
        raise PackageError(f"{folder / MANIFEST}: can't be read ({error!r}); compile again") from error
    if digest != facts.get(DIGEST):
        raise PackageError(
            f"{needs}; {folder} is of another compilation ({digest}, not {facts.get(DIGEST)}): compile again"
        )
    return folder


def _inside(folder: Path, path: str) -> Path:
    file = (folder / path).resolve()
    if not file.is_relative_to(folder.resolve()):
        raise ValueError(f"{path} is outside the folder")
    return file
