"""Named operands and attributes of physical nodes, for passes that rewrite them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir


def get_operand(node: ir.Node, names: Sequence[str], name: str) -> ir.Value | None:
    """The operand called `name` ("bias"), None when absent; `names` are the op's ("?": optional)."""
    index = index_of(names, name)
    return node.inputs[index] if index < len(node.inputs) else None


def put_operand(node: ir.Node, names: Sequence[str], name: str, value: ir.Value | None) -> None:
    """Sets the operand called `name`, growing the inputs as needed."""
    index = index_of(names, name)
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, value)


def has_operand(names: Sequence[str], name: str) -> bool:
    """Whether the op has an operand called `name`."""
    return any(text.rstrip("?*") == name for text in names)


def index_of(names: Sequence[str], name: str) -> int:
    """Position of the operand called `name`."""
    return [text.rstrip("?*") for text in names].index(name)


def set_attribute(node: ir.Node, name: str, value: Any) -> None:
    """Sets or replaces an attribute."""
    node.attributes[name] = ir.convenience.convert_attribute(name, value)
