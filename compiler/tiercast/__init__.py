"""Tiercast: compiles a neural camera effect to every tier of phone, and runs it there.

`tiercast.compile("model.onnx", target="host")` writes a package and returns its path,
`tiercast.Session(package).run({"image": array})` runs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tiercast import quantize as quantize
    from tiercast.parity import verify
    from tiercast.pipeline import compile
    from tiercast.preflight import check
    from tiercast.rig import run_on_target
    from tiercast.session import Session

__version__ = "0.1.0"
__all__ = ["Session", "__version__", "check", "compile", "run_on_target", "verify"]

# Loaded on first use: `import tiercast` stays under 0.3 s and needs no model framework.
_HOMES = {
    "check": "tiercast.preflight",
    "compile": "tiercast.pipeline",
    "Session": "tiercast.session",
    "run_on_target": "tiercast.rig",
    "verify": "tiercast.parity",
}


def __getattr__(name: str) -> Any:
    if name == "quantize":  # a room of functions: see there
        return importlib.import_module("tiercast.quantize")
    if name not in _HOMES:
        raise AttributeError(f"module 'tiercast' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
