"""Quantization-aware training around torchao's PT2E flow: prepare, calibrate, and after training convert."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torchao.quantization.pt2e import FakeQuantize
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_qat_pt2e

from tiercast.errors import UsageError
from tiercast.frontend.torch.exporter import quiet
from tiercast.progress import report_progress
from tiercast.quantize.qat.batch_norm import fold_batch_norms
from tiercast.quantize.qat.capture import arguments_of, capture
from tiercast.quantize.qat.config import QATConfig
from tiercast.quantize.qat.fakes import ActivationObserver, PerChannelWeightObserver, RoundedBias
from tiercast.quantize.qat.joins import NamedJoin, named, share_ranges
from tiercast.quantize.qat.parameters import fix_biases, follow_weights, leave_room, round_biases
from tiercast.quantize.qat.quantizer import TiercastQuantizer
from tiercast.quantize.qat.sizes import Sizes
from tiercast.quantize.ranges import METHODS


class QATModel(nn.Module):
    """A network whose forward computes what the integers will: same inputs and outputs as the module it was
    made of.

    Its parameters are copies. Batch norms keep their statistics, dropout is off, whatever train() and
    eval() say. Between `prepare_qat` and `calibrate` it computes in f32. state_dict() holds ranges too.
    """

    calibrated: Tensor

    def __init__(
        self, graph: GraphModule, sizes: Sizes, config: QATConfig, joins: Sequence[NamedJoin]
    ) -> None:
        super().__init__()
        self.graph, self.sizes, self.config, self.joins = graph, sizes, config, joins
        self.register_buffer("calibrated", torch.zeros((), dtype=torch.bool))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the module that it was made of; UsageError where an input has a size that was recorded as
        fixed.
        """
        self.sizes.check(args, kwargs)
        return self.graph(*args, **kwargs)

    def train(self, mode: bool = True) -> QATModel:
        """Says which mode it is in; computes the same in both."""
        self.training = mode
        return self

    def fakes(self) -> Iterator[FakeQuantize]:
        """Its fake quantizers, each once."""
        yield from (part for part in self.modules() if isinstance(part, FakeQuantize))


def prepare_qat(module: nn.Module, example_inputs: Any, config: QATConfig | None = None) -> QATModel:
    """A copy of a trained f32 module that can be calibrated and trained for integers; the module stays as
    it is.

    example_inputs: a tuple of tensors, a mapping by parameter name, or the only tensor. Training may use
    other batches and crops where the module can.
    Raises UsageError (a configured port that there is not, nothing to quantize) and ModelError
    (torch.export refuses).
    """
    config = config or QATConfig()
    if config.method not in METHODS:
        raise UsageError(f"method {config.method!r} is unknown; known: {', '.join(METHODS)}")
    graph, sizes = capture(copy.deepcopy(module), example_inputs)
    fold_batch_norms(graph)
    report_progress("inserting fake quantization")
    quantizer = TiercastQuantizer(config)
    with quiet():
        graph = prepare_qat_pt2e(graph, quantizer)
    round_biases(graph)
    prepared = QATModel(graph, sizes, config, named(quantizer.points.joins))
    for fake in prepared.fakes():
        fake.disable_fake_quant()
        fake.disable_observer()
    return prepared


def calibrate(prepared: QATModel, batches: Iterable[Any]) -> None:
    """Measures the ranges of all values in f32, chooses scales, which stay, and turns fake quantization on.

    batches: inputs as `example_inputs` of `prepare_qat`, a few dozen typical ones; gone through twice. Call
    it again to measure the ranges of weights that have moved far.
    UsageError without batches, and where a value is NaN or infinite on them.
    """
    kept = list(batches)
    if not kept:
        raise UsageError("calibrate got no batches")
    activations = [
        fake for fake in prepared.fakes() if isinstance(fake.activation_post_process, ActivationObserver)
    ]
    weights = [
        fake
        for fake in prepared.fakes()
        if isinstance(fake.activation_post_process, PerChannelWeightObserver)
    ]
    _switch(prepared, activations, weights, False)
    for fake in activations:
        fake.activation_post_process.reset()
    _run(prepared, kept, "measuring ranges")
    for fake in activations:
        fake.activation_post_process.count()
    _run(prepared, kept, "counting values")
    observers = {fake.activation_post_process.name: fake.activation_post_process for fake in activations}
    ranges = {name: observer.range(prepared.config.method) for name, observer in observers.items()}
    for name, (low, high) in share_ranges(prepared.joins, ranges).items():
        observers[name].choose(low, high)
    for fake in activations:
        scale, zero = fake.calculate_qparams()
        fake.scale.copy_(scale)
        fake.zero_point.copy_(zero)
    leave_room(prepared.graph)
    _switch(prepared, activations, weights, True)
    _run(prepared, kept[:1], "scales of weights")
    prepared.calibrated.fill_(True)


def convert(prepared: QATModel) -> GraphModule:
    """The trained network with s8 weights and quantize and dequantize operators, as PyTorch's PT2E flow has
    them.

    `tiercast.compile((converted, example_inputs))` and `torch.export.save` take it; `prepared` stays as it
    is. UsageError before `calibrate`.
    """
    if not bool(prepared.calibrated):
        raise UsageError(
            "the model has no ranges yet: call calibrate(prepared, batches) before it is converted"
        )
    graph = copy.deepcopy(prepared.graph)
    follow_weights(graph)
    fix_biases(graph)
    with quiet(), torch.no_grad():
        converted: GraphModule = convert_pt2e(graph)
    converted.graph.eliminate_dead_code()
    converted.delete_all_unused_submodules()
    converted.recompile()
    return converted


def _switch(
    prepared: QATModel, activations: list[FakeQuantize], weights: list[FakeQuantize], on: bool
) -> None:
    """Either ranges of activations are measured in f32, or all is fake-quantized and weights are followed."""
    for fake in activations:
        fake.enable_fake_quant(on)
        fake.enable_observer(not on)
    for fake in weights:
        fake.enable_fake_quant(on)
        fake.enable_observer(on)
    for part in prepared.modules():
        if isinstance(part, RoundedBias):
            part.enabled = on


def _run(prepared: QATModel, batches: list[Any], what: str) -> None:
    with torch.no_grad():
        for at, batch in enumerate(batches):
            report_progress(f"{what}: batch {at + 1} of {len(batches)}")
            args, kwargs = arguments_of(batch)
            prepared(*args, **kwargs)
