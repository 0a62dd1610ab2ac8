"""A folder with what the peers need to run as AArch64 programs here: Debian's arm64 Python and their wheels.

Made once from Debian's and PyPI's own clients, without root and without touching this system's packages.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile

from benchmarks.models.export_onnx import REPOSITORY

ROOT = REPOSITORY / "build" / "arm64"
PREFIX = ROOT / "prefix"
SITE = ROOT / "site"
PYTHON = PREFIX / "usr" / "bin" / "python3.11"
# Debian 12's names; the wheels are those of its Python.
_DEBS = (
    "python3.11-minimal", "libpython3.11-stdlib", "libstdc++6", "libgomp1", "zlib1g", "libssl3", "libffi8",
    "libexpat1",
)  # fmt: skip
_PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
# onnxruntime reads the kind of core from here and crashes where the file is another architecture's.
_CPUINFO = """processor\t: 0
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 1

"""


def wheels() -> list[str]:
    """The pinned wheels: pyproject.toml's extra `engines-arm64`."""
    facts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    wanted: list[str] = facts["project"]["optional-dependencies"]["engines-arm64"]
    return wanted


def ensure() -> None:
    """Makes the folder unless it is that of the pins. Raises CalledProcessError where apt or pip refuse."""
    stamp, wanted = ROOT / "stamp", "\n".join([*_DEBS, *wheels()])
    if stamp.exists() and stamp.read_text() == wanted:
        return
    _unpack_debs()
    _unpack_wheels()
    (PREFIX / "proc").mkdir(exist_ok=True)
    (PREFIX / "proc" / "cpuinfo").write_text(_CPUINFO)
    stamp.write_text(wanted)


def environment() -> dict[str, str]:
    """What the emulated Python needs set; a fixed hash seed makes its counts the same each time."""
    return {
        "PYTHONPATH": f"{SITE}:{REPOSITORY}",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }


def _unpack_debs() -> None:
    """Lets this system's apt, with its sources, resolve the packages for arm64 into a state of its own."""
    apt = ROOT / "apt"
    for folder in (apt / "lists" / "partial", apt / "cache" / "archives" / "partial", apt / "dpkg", PREFIX):
        folder.mkdir(parents=True, exist_ok=True)
    (apt / "dpkg" / "status").touch()
    options = {
        "Dir::State": apt, "Dir::State::lists": apt / "lists", "Dir::State::status": apt / "dpkg" / "status",
        "Dir::Cache": apt / "cache", "APT::Architecture": "arm64", "APT::Architectures": "arm64",
        "APT::Sandbox::User": "root", "Debug::NoLocking": "1",
    }  # fmt: skip
    command = [
        "apt-get",
        "-qq",
        *[word for key, value in options.items() for word in ("-o", f"{key}={value}")],
    ]
    subprocess.run([*command, "update"], check=True)
    subprocess.run(
        [*command, "install", "-y", "--no-install-recommends", "--download-only", *_DEBS], check=True
    )
    for package in sorted((apt / "cache" / "archives").glob("*.deb")):
        subprocess.run(["dpkg", "-x", package, PREFIX], check=True)


def _unpack_wheels() -> None:
    folder = ROOT / "wheels"
    platforms = [word for name in _PLATFORMS for word in ("--platform", f"{name}_aarch64")]
    subprocess.run(
        [
            sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "download", "--no-deps",
            "--only-binary=:all:", "--python-version", "3.11", "--implementation", "cp", "--abi", "cp311",
            *platforms, "-d", folder, *wheels(),
        ],
        check=True, env={**os.environ},
    )  # fmt: skip
    for wheel in sorted(folder.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(SITE)
