"""What an op is, and the discovered set of them.

A *physical* op is a node of domain "tiercast" whose values have a fixed memory order. Each `ops/<op>.py`
defines one by subclassing `Op`; defining the class is its registration. Ops of users' own folders
(`custom.py`) join the set while `extended` says so.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import onnx_ir as ir

from tiercast.errors import GraphError
from tiercast.ir.domain import QUANTIZED

if TYPE_CHECKING:
    from tiercast.ops.layouter import Layouter
    from tiercast.ops.lowering import Lowering

DOMAIN = "tiercast"
REALS = (ir.DataType.FLOAT, ir.DataType.FLOAT16)  # what kernels compute with; f16 comes of choose_precision
REQUIRED: Any = object()  # an attribute with no default


class Op:
    """One physical op. The docstring of a subclass documents inputs, attributes and outputs with shapes.

    onnx: ONNX op types that `legalize` takes: "LRN", or "my.domain::Vignette" for one of another domain.
    torch: "namespace::name" of the custom torch op that becomes the first of `onnx`; for users' own ops.
    inputs: names in order; a trailing "?" marks an optional one, "*" a variadic last one.
    attributes: name -> default; the default's Python type is the attribute's type; REQUIRED means there is
    none.
    strided_inputs / strided_outputs: kernels take views whose last stride is 1 and whose others are free;
    else dense only.
    half: takes f16 where the text says real: it has rows over f16, or moves any type.
    in_place: the first output may use the memory of a same-shaped input that dies here.
    """

    onnx: ClassVar[tuple[str, ...]] = ()
    torch: ClassVar[str] = ""
    inputs: ClassVar[tuple[str, ...]] = ()
    attributes: ClassVar[Mapping[str, Any]] = {}
    strided_inputs: ClassVar[bool] = False
    strided_outputs: ClassVar[bool] = False
    half: ClassVar[bool] = False
    in_place: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """The physical op_type: the class's name."""
        return type(self).__name__

    def legalize(self, node: ir.Node, layout: Layouter) -> None:
        """Turns an ONNX node (one of `onnx`) into physical nodes through `layout`.

        GraphError names the broken rule.
        """
        raise GraphError(f"{where(node)}: {self.name} has no legalisation from ONNX")

    def infer(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """dtype and physical shape of each output; GraphError names the broken rule."""
        raise NotImplementedError

    def lower(self, node: ir.Node, low: Lowering) -> None:
        """Emits the kernel calls that compute the node."""
        raise NotImplementedError

    def infer_onnx(self, node: ir.Node) -> list[tuple[ir.DataType, tuple[int, ...]]]:
        """dtype and shape of each output of an ONNX node of a domain that ONNX does not know; as `infer`
        unless `legalize` changes the memory order, the operands or the attributes.
        """
        return self.infer(node)

    def reference(self, node: ir.Node, *inputs: np.ndarray | None) -> list[np.ndarray]:
        """The physical node's outputs for its operands, by numpy: what judges a user's own op."""
        raise GraphError(f"{where(node)}: {self.name} has no numpy `reference`, so nothing can judge it")

    def reference_onnx(self, node: ir.Node, *inputs: np.ndarray | None) -> list[np.ndarray]:
        """The same for an ONNX node; as `reference` under the same condition as `infer_onnx`."""
        return self.reference(node, *inputs)

    def macs(self, node: ir.Node) -> int:
        """Multiply-accumulates of the node, for reports; 0 where it has none."""
        return 0


_EXTRA: ContextVar[Mapping[str, Op]] = ContextVar("extra ops", default=MappingProxyType({}))


def ops() -> Mapping[str, Op]:
    """Every physical op by op_type: those of tiercast.ops, discovered, and those `extended` adds."""
    extra = _EXTRA.get()
    return {**own_ops(), **extra} if extra else own_ops()


@cache
def own_ops() -> dict[str, Op]:
    """The ops of tiercast.ops by op_type."""
    package = importlib.import_module("tiercast.ops")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    own = [cls for cls in _subclasses(Op) if cls.__module__.startswith(f"{package.__name__}.")]
    return {cls.__name__: cls() for cls in own}


@contextmanager
def extended(more: Mapping[str, Op]) -> Iterator[None]:
    """Within it, and only in this thread's context, `ops` has these too."""
    token = _EXTRA.set({**_EXTRA.get(), **more})
    try:
        yield
    finally:
        _EXTRA.reset(token)


def extra_ops() -> Mapping[str, Op]:
    """The ops that `extended` added."""
    return _EXTRA.get()


def legalizers() -> Mapping[str, Op]:
    """ONNX op type, as in `Op.onnx`, -> the Op that legalises it."""
    extra = {onnx_type: op for op in _EXTRA.get().values() for onnx_type in op.onnx}
    return {**own_legalizers(), **extra} if extra else own_legalizers()


@cache
def own_legalizers() -> dict[str, Op]:
    """The same of the ops of tiercast.ops alone."""
    return {onnx_type: op for op in own_ops().values() for onnx_type in op.onnx}


def legalizer(domain: str, op_type: str) -> Op | None:
    """The Op that legalises an operator of a domain ("" is ONNX's own), or None."""
    return legalizers().get(op_type if domain in ("", QUANTIZED) else f"{domain}::{op_type}")


def op_of(node: ir.Node) -> Op:
    """The Op of a physical node; GraphError when the domain or the op_type is not ours."""
    found = ops().get(node.op_type) if node.domain == DOMAIN else None
    if found is None:
        raise GraphError(f"{where(node)}: not an op of domain {DOMAIN!r}")
    return found


def attr(node: ir.Node, name: str, default: Any = None) -> Any:
    """The attribute's Python value (lists as lists, strings as str), else the op's default, else `default`.

    GraphError when a physical node, or one of a user's own ONNX domain, lacks a REQUIRED one.
    """
    found = node.attributes.get(name)
    if found is not None:
        value = found.value
        return list(value) if isinstance(value, (list, tuple)) else value
    if node.domain == "":
        return default
    op = op_of(node) if node.domain == DOMAIN else legalizer(node.domain, node.op_type)
    own = default if op is None else op.attributes.get(name, default)
    if own is REQUIRED:
        raise GraphError(f"{where(node)}: attribute {name!r} is required")
    return own


def shape(value: ir.Value) -> tuple[int, ...]:
    """The static shape; GraphError when a dimension is unknown."""
    dims = value.shape
    if dims is None or not all(isinstance(dim, int) for dim in dims):
        raise GraphError(
            f"value {value.name!r} has no static shape ({dims}); fix it with --input name:1x3x256x256"
        )
    return tuple(int(dim) for dim in dims)  # type: ignore[arg-type]


def dense_strides(dims: Sequence[int]) -> tuple[int, ...]:
    """Row-major strides in elements."""
    return tuple(math.prod(dims[axis + 1 :]) for axis in range(len(dims)))


def dtype(value: ir.Value) -> ir.DataType:
    """The element type; GraphError when it is unknown."""
    if value.dtype is None:
        raise GraphError(f"value {value.name!r} has no element type")
    return value.dtype


def real(value: ir.Value) -> str:
    """The kernels' name of a real element type, "f32" or "f16"; GraphError for any other."""
    if dtype(value) not in REALS:
        raise GraphError(f"value {value.name!r} is {dtype(value)}; it must be f32 or f16")
    return ("f32", "f16")[REALS.index(dtype(value))]


def real_row(family: str, value: ir.Value) -> str:
    """The name of a family's rows that take and give reals of the value's type, say "conv2d_f16f16"."""
    return f"{family}_{real(value)}{real(value)}"


def const(value: ir.Value | None) -> np.ndarray | None:
    """The array of a constant (initializer) value, None for an absent or computed one."""
    if value is None or value.const_value is None:
        return None
    return value.const_value.numpy()


def shape_key(node: ir.Node) -> str:
    """What decides how long a physical node takes, as text: op, dims of operands and results, attributes that
    differ from their defaults: "Conv2d(1x28x28x64, 64x64x3x3) -> 1x28x28x64 pads=1,1,1,1".
    """
    operands = ", ".join("-" if value is None else _dims_text(value) for value in node.inputs)
    results = ", ".join(_dims_text(value) for value in node.outputs)
    defaults = op_of(node).attributes
    own = {name: attr(node, name) for name in sorted(defaults)}
    changed = [f" {name}={_attr_text(value)}" for name, value in own.items() if value != defaults[name]]
    return f"{node.op_type}({operands}) -> {results}{''.join(changed)}"


def where(node: ir.Node) -> str:
    """How errors name a node: node "conv_12" (Conv)."""
    return f'node "{node.name or node.outputs[0].name}" ({node.op_type})'


def _dims_text(value: ir.Value) -> str:
    return "x".join(str(dim) for dim in shape(value)) or "scalar"


def _attr_text(value: Any) -> str:
    return ",".join(str(item) for item in value) if isinstance(value, list) else str(value)


def _subclasses(cls: type[Op]) -> list[type[Op]]:
    found: list[type[Op]] = []
    for sub in cls.__subclasses__():
        found += [*([sub] if not sub.__name__.startswith("_") else []), *_subclasses(sub)]
    return found
