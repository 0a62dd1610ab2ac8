"""Operators that ONNX itself defines by a body of simpler ones."""

from __future__ import annotations

from functools import cache
from typing import Any

import onnx
from onnx import defs

WITHOUT_BODY = frozenset({"LRN"})  # ONNX defines no body, split_composites knows one


def can_be_split(op_type: str, opset: int) -> bool:
    """Whether split_composites may expand the default-domain operator."""
    return op_type in WITHOUT_BODY or has_body(op_type, opset)


@cache
def has_body(op_type: str, opset: int) -> bool:
    """Whether the default-domain operator, as of `opset`, has a function body (fixed, or made for a node)."""
    try:
        schema: Any = defs.get_schema(op_type, opset, "")  # onnx's stub lacks has_function
    except defs.SchemaError:
        return False
    return bool(schema.has_function or schema.has_context_dependent_function)


def add_default_attributes(node: onnx.NodeProto, opset: int) -> None:
    """Writes out the defaults of attributes that are left out: ONNX's inliner drops references to those.

    Optional attributes without a default stay absent.
    """
    schema = defs.get_schema(node.op_type, opset, "")
    present = {attribute.name for attribute in node.attribute}
    for name, attribute in schema.attributes.items():
        if name not in present and attribute.default_value.type != onnx.AttributeProto.UNDEFINED:
            node.attribute.append(attribute.default_value)
