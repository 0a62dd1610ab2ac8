"""What a pass says it did: what it applied, and what it refused with the name of the broken rule."""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx_ir as ir


def label(node: ir.Node) -> str:
    """How reports and errors name a node: its name, else its first output's, with the op type."""
    return f'node "{name_of(node)}" ({node.op_type})'


def name_of(node: ir.Node) -> str:
    """A node's name, else its first output's."""
    return node.name or next((value.name for value in node.outputs if value.name), "?")


def operator_of(node: ir.Node) -> str:
    """The operator as users know it: "Conv", "com.microsoft.FusedConv"."""
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


@dataclass
class PassReport:
    """`applied`: a line per rewrite; `refused`: (node, reason) where a pattern matched, its check not."""

    name: str
    applied: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)

    def apply(self, node: ir.Node, what: str) -> None:
        """Notes a rewrite made at `node`."""
        self.applied.append(f"{label(node)}: {what}")

    def refuse(self, node: ir.Node, reason: str) -> None:
        """Notes that the pattern matched at `node` but its check refused."""
        self.refused.append((label(node), reason))

    @property
    def changed(self) -> bool:
        """Whether the pass changed the graph."""
        return bool(self.applied)
