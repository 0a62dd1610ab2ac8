"""Custom torch ops (torch.library.custom_op) that a user's own op takes, for PyTorch's ONNX exporter.

The front end hands `torch.ops` over.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from onnx import defs

from tiercast.errors import UsageError
from tiercast.ops.registry import extra_ops

# torch's name of an argument's type -> ONNX's attribute type, and how Python annotates it
_KINDS: dict[str, tuple[str, Any]] = {
    "float": ("FLOAT", float),
    "int": ("INT", int),
    "bool": ("INT", int),
    "str": ("STRING", str),
    "List[int]": ("INTS", Sequence[int]),
    "List[float]": ("FLOATS", Sequence[float]),
}


def translations(torch_ops: Any) -> dict[Any, Callable[..., Any]]:
    """Torch op -> the function by which the exporter makes it a node of the first operator in `Op.onnx`.

    torch_ops: `torch.ops`. Ops that no imported module has registered are left out. UsageError where an
    argument can't be an ONNX attribute.
    """
    table: dict[Any, Callable[..., Any]] = {}
    for name, op in extra_ops().items():
        if not op.torch:
            continue
        space, _, plain = op.torch.partition("::")
        domain, _, op_type = (op.onnx[0] if op.onnx else "").rpartition("::")
        if not plain or not domain:
            raise UsageError(
                f'{name}: torch = {op.torch!r} must be "namespace::name", and `onnx` must name the operator '
                'that it becomes, "my.domain::OpType"'
            )
        packet = getattr(getattr(torch_ops, space), plain, None)
        if packet is not None:
            table[packet.default] = _translation(packet.default, domain, op_type)
    return table


def _translation(torch_op: Any, domain: str, op_type: str) -> Callable[..., Any]:
    """Tensors become inputs in their order, everything else an attribute of the argument's name."""
    import onnxscript

    parameters: list[inspect.Parameter] = []
    attributes: list[defs.OpSchema.Attribute] = []
    hints: dict[str, Any] = {}
    for argument in torch_op._schema.arguments:
        text, default = str(argument.type), inspect.Parameter.empty
        if argument.has_default_value():
            default = argument.default_value
        if "Tensor" not in text:
            if text not in _KINDS:
                raise UsageError(
                    f"{torch_op}: argument {argument.name!r} is {text}, which is no ONNX attribute; take "
                    f"{', '.join(_KINDS)} or tensors"
                )
            kind, hints[argument.name] = _KINDS[text]
            attributes.append(
                defs.OpSchema.Attribute(
                    argument.name, getattr(defs.OpSchema.AttrType, kind), "", required=False
                )
            )
        parameters.append(
            inspect.Parameter(
                argument.name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=default,
                annotation=hints.get(argument.name, inspect.Parameter.empty),
            )
        )
    schema = _schema(domain, op_type, attributes, len(torch_op._schema.returns))
    emit = onnxscript.values.Op(onnxscript.values.Opset(domain, 1), op_type, schema)
    signature = inspect.Signature(parameters)

    def translate(*arguments: Any, **keywords: Any) -> Any:
        bound = signature.bind(*arguments, **keywords)
        bound.apply_defaults()
        tensors = [value for name, value in bound.arguments.items() if name not in hints]
        return emit(*tensors, **{name: bound.arguments[name] for name in hints})

    # The exporter reads from these which arguments are attributes.
    translate.__signature__ = signature  # type: ignore[attr-defined]
    translate.__annotations__ = hints
    return translate


def _schema(
    domain: str, op_type: str, attributes: list[defs.OpSchema.Attribute], outputs: int
) -> defs.OpSchema:
    option = defs.OpSchema.FormalParameterOption
    kinds = defs.get_schema("Size").type_constraints[0].allowed_type_strs
    every = [kind for kind in kinds if "tensor" in kind]
    parameter = defs.OpSchema.FormalParameter
    return defs.OpSchema(
        op_type,
        domain,
        1,
        inputs=[parameter("x", "T", param_option=option.Variadic, is_homogeneous=False, min_arity=0)],
        outputs=[parameter(f"y{index}", "U", is_homogeneous=False) for index in range(outputs)],
        type_constraints=[("T", every, ""), ("U", every, "")],
        attributes=attributes,
    )
