"""Which sizes of inputs a captured graph is good for: what torch.export found fixed must stay as it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree

from tiercast.errors import UsageError


@dataclass(frozen=True)
class Sizes:
    """The inputs that are tensors, by name and in order: each dimension's fixed size, or None where it is
    free.
    """

    inputs: Mapping[str, tuple[int | None, ...]]

    def check(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """UsageError for an input with another rank, or another size than a fixed one."""
        given = [leaf for leaf in _pytree.tree_leaves(args) if isinstance(leaf, torch.Tensor)]
        named = dict(zip(self.inputs, given, strict=False))
        named |= {name: item for name, item in kwargs.items() if name in self.inputs}
        for name, tensor in named.items():
            wanted = self.inputs[name]
            fits = tensor.dim() == len(wanted) and all(
                size in (None, has) for size, has in zip(wanted, tensor.shape, strict=True)
            )
            if not fits:
                raise UsageError(
                    f"input {name!r} is {_text(tensor.shape)}; what the module does was recorded for "
                    f"{_text(wanted)} (? is any size): pass such inputs, or prepare it with others"
                )


def sizes_of(program: torch.export.ExportedProgram) -> Sizes:
    """The sizes of an exported program's inputs."""
    found: dict[str, tuple[int | None, ...]] = {}
    for node in program.graph.nodes:
        value = node.meta.get("val")
        wanted = node.op == "placeholder" and node.name in program.graph_signature.user_inputs
        if wanted and isinstance(value, torch.Tensor):
            found[node.name] = tuple(_fixed(dim) for dim in value.shape)
    return Sizes(found)


def _fixed(dim: int | torch.SymInt) -> int | None:
    if isinstance(dim, torch.SymInt):
        expression = dim.node.expr
        return int(expression) if expression.is_number else None
    return dim


def _text(dims: Any) -> str:
    return "x".join("?" if dim is None else str(int(dim)) for dim in dims) or "a scalar"
