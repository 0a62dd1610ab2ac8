"""Copies of the source tree that tests may change, and how to run them instead of the installed Tiercast."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tiercast.paths import room

ROOT = room("runtime").parent
# An editable install finds `tiercast` before PYTHONPATH does; only Python's own finders are to look here.
_SITE = """
import sys
own = ("_frozen_importlib", "_frozen_importlib_external")
sys.meta_path[:] = [finder for finder in sys.meta_path if getattr(finder, "__module__", "") in own]
"""


def copy_tree(folder: Path, *rooms: str) -> Path:
    """Copies these rooms of the checkout ("compiler/tiercast", "kernels"...) into `folder`."""
    for name in rooms:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(
                source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.so", "build")
            )
        else:
            shutil.copy(source, folder / name)
    return folder


def environment(folder: Path) -> dict[str, str]:
    """The environment in which Python imports tiercast from `folder`/compiler."""
    (folder / "site").mkdir(exist_ok=True)
    (folder / "site" / "sitecustomize.py").write_text(_SITE)
    return {
        **os.environ,
        "PYTHONPATH": f"{folder / 'site'}:{folder / 'compiler'}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
