"""A PyTorch module as a graph that can be trained: exported in eval mode, sizes dynamic, nothing in place."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.utils import _pytree

from tiercast.errors import ModelError
from tiercast.frontend.torch.exporter import cause_of, quiet
from tiercast.progress import report_progress
from tiercast.quantize.qat.sizes import Sizes, sizes_of

Traced = Any  # a torch.fx.Node, whose arguments are of too many types for a type checker
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def arguments_of(example: Any) -> Arguments:
    """Args and kwargs of example inputs: a tuple, a mapping by name, or the only input."""
    if isinstance(example, Mapping):
        return (), dict(example)
    return (tuple(example) if isinstance(example, (tuple, list)) else (example,)), {}


def capture(module: torch.nn.Module, example: Any) -> tuple[GraphModule, Sizes]:
    """The module in eval mode (dropout off, batch norms by their statistics) as ATen operators, and the sizes
    that it takes; parameters are shared.

    Dimensions stay dynamic where the module allows it, so that training may use other batches and crops
    than the example's. ModelError with PyTorch's reason when it can't be exported.
    """
    args, kwargs = arguments_of(example)
    report_progress("torch.export records the module")
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        net, sizes = _exported(module, args, kwargs)
    finally:
        for part, mode in modes:
            part.training = mode
    _make_functional(net)
    return net, sizes


def _exported(
    module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[GraphModule, Sizes]:
    """With all dimensions dynamic, else the first of each input, else none: as much as the module allows."""
    plain, doubled = (args, kwargs), _twice((args, kwargs))
    failure: Exception | None = None
    for example, axes in ((doubled, None), (plain, None), (doubled, 1), (plain, 1), (plain, 0)):
        # Copies: torch.export writes on tensors which of their dimensions are dynamic.
        given: Arguments = _pytree.tree_map_only(torch.Tensor, torch.clone, example)
        try:
            with quiet():
                shapes = _by_parameter(module, *_dynamic(given, axes))
                program = torch.export.export(module, *given, dynamic_shapes=shapes, strict=False)
                sizes = sizes_of(program)
                sizes.check(args, kwargs)  # the module may have held a doubled batch fast
                return program.module(check_guards=False), sizes
        except Exception as error:  # whatever the module's code does at these sizes
            failure = error
    assert failure is not None
    raise ModelError(
        f"torch:{type(module).__name__}: torch.export refuses the module: {cause_of(failure)}"
    ) from failure


def _twice(given: Arguments) -> Arguments:
    """Batches of one as batches of two: torch.export takes a dimension of 1 for a constant."""
    tensors = [leaf for leaf in _pytree.tree_leaves(given) if isinstance(leaf, torch.Tensor)]
    if not all(tensor.dim() > 1 and tensor.shape[0] == 1 for tensor in tensors):
        return given
    doubled: Arguments = _pytree.tree_map_only(torch.Tensor, lambda item: torch.cat([item, item]), given)
    return doubled


def _dynamic(given: Arguments, axes: int | None) -> Any:
    """For each tensor whether its dimensions, the first `axes` of them or all, are dynamic."""

    def of(leaf: Any) -> list[Any] | None:
        if not isinstance(leaf, torch.Tensor):
            return None
        some = leaf.dim() if axes is None else min(axes, leaf.dim())
        return [torch.export.Dim.AUTO] * some + [None] * (leaf.dim() - some)

    return _pytree.tree_map(of, given)


def _by_parameter(module: torch.nn.Module, args: Any, kwargs: Any) -> Any:
    """Sizes as torch.export wants them: for args a tuple; by parameter name where there are kwargs."""
    if not kwargs:
        return args
    bound = inspect.signature(module.forward).bind(*args, **kwargs)
    return dict(bound.arguments)


def _make_functional(net: GraphModule) -> None:
    """relu_(x) -> relu(x) and likewise, in place: what read x after it reads the result."""
    places = {node: at for at, node in enumerate(net.graph.nodes)}
    for node in list(net.graph.nodes):
        target = node.target
        if node.op != "call_function" or not isinstance(target, torch._ops.OpOverload):
            continue
        name = target._schema.name.split("::")[-1]
        if not name.endswith("_") or not hasattr(torch.ops.aten, name[:-1]):
            continue
        plain = getattr(getattr(torch.ops.aten, name[:-1]), target._overloadname, None)
        source = node.args[0]
        if plain is None or not isinstance(source, Node) or source.op == "get_attr":
            continue
        node.target = plain
        for user in list(source.users):
            if places[user] > places[node]:
                user.replace_input_with(source, node)
    net.recompile()
