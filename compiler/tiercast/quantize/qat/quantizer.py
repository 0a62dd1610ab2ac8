"""Our integer core as a quantizer of PyTorch's PT2E flow."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatch
from typing import Any

from torch.fx import GraphModule
from torchao.quantization.pt2e.quantizer import (
    QuantizationAnnotation,
    Quantizer,
)

from tiercast.errors import UsageError
from tiercast.quantize.qat.capture import Traced
from tiercast.quantize.qat.config import QATConfig, Range
from tiercast.quantize.qat.fakes import activation_spec, weight_spec
from tiercast.quantize.qat.points import Points, find_points, leaf_of

_KEY = "quantization_annotation"


class TiercastQuantizer(Quantizer):  # type: ignore[misc]
    """Annotates what runs on integers after `tiercast.compile`, and as it runs there.

    Weights s8 per output channel in -127..127 (axis 1 of transposed convolutions), values s8 with one scale
    and zero point, shared through concatenations and interpolations; pools, reshapes and pads move
    integers, relu and clips belong to what they follow. Batch norms must be folded
    (`batch_norm.fold_batch_norms`). Made for `prepare_qat_pt2e`.
    """

    def __init__(self, config: QATConfig | None = None) -> None:
        self.config = config or QATConfig()
        self.points = Points()

    def annotate(self, model: GraphModule) -> GraphModule:
        """Marks the graph's nodes, in place. UsageError for ranges of ports that there are not."""
        self.points = find_points(model.graph, self._stays_float)
        fixed = _fixed_ranges(model, self.config)
        for value in self.points.values:
            _annotation(value).output_qspec = activation_spec(value.name, fixed.get(value))
        for product, axis in self.points.products.items():
            spec = weight_spec(f"{_path(product)}.weight", axis, self.config.weight_bits)
            _annotation(product).input_qspec_map[product.args[1]] = spec
        return model

    def validate(self, model: GraphModule) -> None:
        """UsageError when nothing of the model runs on integers."""
        del model
        if not self.points.products:
            raise UsageError(
                "the model has no convolution or linear layer that integers compute; nothing is to be trained"
            )

    def _stays_float(self, node: Traced) -> bool:
        paths = [path for path, _ in node.meta.get("nn_module_stack", {}).values()]
        return any(fnmatch(path, pattern) for path in paths for pattern in self.config.keep_float)


def _path(node: Traced) -> str:
    """Of the module whose code made the node; its own name outside of modules."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return str(stack[-1][0] if stack and stack[-1][0] else node.name)


def _annotation(node: Traced) -> Any:
    return node.meta.setdefault(_KEY, QuantizationAnnotation(_annotated=True))


def _fixed_ranges(model: GraphModule, config: QATConfig) -> dict[Traced, Range]:
    """The configured ranges of ports by the values that they quantize."""
    inputs = {node.name: node for node in model.graph.nodes if node.op == "placeholder"}
    outputs = output_names(model)
    fixed: dict[Traced, Range] = {}
    for kind, ports, ranges in (
        ("input", inputs, config.input_ranges),
        ("output", outputs, config.output_ranges),
    ):
        fixed |= {leaf_of(_port(kind, ports, name)): limits for name, limits in ranges.items()}
    return fixed


def output_names(model: GraphModule) -> dict[str, Traced]:
    """The outputs by name: the keys of a dict, else their numbers."""
    results = [item for item in next(reversed(model.graph.nodes)).all_input_nodes]
    given = next(reversed(model.graph.nodes)).args[0]
    flat = list(given) if isinstance(given, (list, tuple)) else [given]
    spec = getattr(getattr(model.graph, "_codegen", None), "pytree_info", None)
    out = spec.out_spec if spec is not None else None
    keys = (
        list(out.context)
        if out is not None and out.type is dict and len(out.context) == len(flat)
        else range(len(flat))
    )
    return {str(key): node for key, node in zip(keys, flat, strict=True) if node in results}


def _port(kind: str, ports: Mapping[str, Traced], name: str) -> Traced:
    if name not in ports:
        raise UsageError(f"{kind}_ranges names {name!r}; the model's {kind}s are {', '.join(ports)}")
    return ports[name]
