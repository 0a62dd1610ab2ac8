"""PyTorch: exported programs, TorchScript, and modules from factories, through PyTorch's own ONNX exporter.

This folder is the only place of the compiler that imports torch, and only when a PyTorch source is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from tiercast.frontend.hub import to_hub
from tiercast.ir.weights import light_proto

REFERENCE = "PyTorch eager"
TAKES = (
    "a .pt2 file, a torch.export.ExportedProgram, TorchScript (.pt, .pth or module) with input shapes, "
    'a pair (torch module, example inputs), or "module:factory" / "file.py:factory" of a function that '
    "returns such a pair"
)
OPTIONS = ("dtypes", "check_import")


def accepts(source: object) -> bool:
    """Whether this format reads `source`; does not import torch."""
    if isinstance(source, (str, Path)):
        name = str(source)
        if Path(name).suffix in (".pt2", ".pt", ".pth", ".ptl"):
            return True
        return ":" in name and not Path(name).exists()
    if isinstance(source, tuple) and len(source) == 2:
        return is_torch(source[0], "Module")
    return is_torch(source, "ExportedProgram") or is_torch(source, "ScriptModule")


def read(
    source: Any,
    inputs: Mapping[str, Sequence[int]] | None,
    *,
    dtypes: Mapping[str, str] | None = None,
    check_import: bool = True,
) -> ir.Model:
    """The model in hub form; input names are the forward's parameter names (or the example dict's keys).

    inputs, dtypes: shapes and element types by name; TorchScript, which knows neither, needs the shapes (f32
    is the default type), for others the shapes fix dynamic dimensions.
    check_import: run program and result on the same inputs, every dynamic dimension at a second size too,
    and refuse a result that differs.
    Raises UsageError for a factory that can't be found or returns something else and for missing input
    shapes, ModelError for a program that PyTorch can't export, or exports wrong.
    """
    from tiercast.frontend.torch.exporter import resize_to_sizes, to_onnx
    from tiercast.frontend.torch.import_check import check_conversion
    from tiercast.frontend.torch.sources import open_source

    opened = open_source(source, inputs or {}, dtypes or {})
    exported = to_onnx(opened.program, opened.origin)
    proto, weights = light_proto(exported)
    hub = to_hub(proto, inputs, opened.origin, weights)
    resize_to_sizes(hub)
    if check_import:
        check_conversion(opened, exported, hub)
    return hub


def reference(source: Any) -> Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]:
    """The program in eager PyTorch on the CPU; inputs of a mapping or keywords go by name, else by order."""
    from tiercast.frontend.torch.sources import open_judge

    return open_judge(source)


def is_torch(value: object, class_name: str) -> bool:
    """Whether the value is an instance of a class of torch with this name; does not import torch."""
    return any(
        cls.__name__ == class_name and cls.__module__.split(".")[0] == "torch" for cls in type(value).__mro__
    )
