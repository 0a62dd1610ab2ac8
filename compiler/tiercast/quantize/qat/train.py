"""A small trainer: the user's loss, optionally with distillation from the f32 network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils import _pytree

from tiercast.errors import UsageError
from tiercast.progress import report_progress
from tiercast.quantize.qat.capture import arguments_of
from tiercast.quantize.qat.prepared import QATModel

KINDS = ("mse", "kl")
_SMALLEST = 1e-6


@dataclass(frozen=True)
class Distillation:
    """The f32 network as a teacher: what its outputs add to the loss.

    teacher: in eval mode; called with the student's inputs, without gradients; outputs of the same shapes.
    weight: of the added term. kind: "mse", mean squared difference; "kl", the Kullback-Leibler divergence
    of softmax(outputs / temperature) over axis 1, times temperature^2 (Hinton, Vinyals, Dean, "Distilling the
    Knowledge in a Neural Network", 2015), or of sigmoid(outputs / temperature) where axis 1 has one channel.
    probabilities: for "kl", the outputs are probabilities already (temperature 1).
    """

    teacher: nn.Module
    weight: float = 1.0
    kind: str = "mse"
    temperature: float = 1.0
    probabilities: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"kind {self.kind!r} of distillation is unknown; known: {', '.join(KINDS)}")
        if self.temperature <= 0 or (self.probabilities and self.temperature != 1):
            raise UsageError(
                f"temperature is {self.temperature}; it must be above 0, and 1 for probabilities"
            )
        if self.teacher.training:
            raise UsageError(
                "the teacher is in training mode, in which it changes with what it sees: call its eval()"
            )

    def loss(self, outputs: Any, batch: Any) -> Tensor:
        """The added term, weighted, for the student's outputs on a batch of inputs."""
        args, kwargs = arguments_of(batch)
        with torch.no_grad():
            taught = self.teacher(*args, **kwargs)
        pairs = zip(_real_leaves(outputs), _real_leaves(taught), strict=True)
        term = self._squares if self.kind == "mse" else self._divergence
        total: Tensor = self.weight * sum(
            (term(student, teacher) for student, teacher in pairs), torch.zeros(())
        )
        return total

    def _squares(self, student: Tensor, teacher: Tensor) -> Tensor:
        return functional.mse_loss(student, teacher)

    def _divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        known, logs = self._shares(teacher)
        _, learnt = self._shares(student)
        return (known * (logs - learnt)).sum(1).mean() * self.temperature**2

    def _shares(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities over axis 1 and their logarithms; of one channel, itself and its complement."""
        one = outputs.shape[1] == 1
        if self.probabilities:
            both = torch.cat([outputs, 1 - outputs], 1) if one else outputs
            shares = both.clamp(_SMALLEST, 1)
            return shares, shares.log()
        scaled = outputs / self.temperature
        if one:
            scaled = torch.cat([scaled, torch.zeros_like(scaled)], 1)
        return scaled.softmax(1), scaled.log_softmax(1)


class Trainer:
    """Trains a calibrated `QATModel`; `loss(outputs, target)` and the optimiser are torch's or the user's.

    clip: the largest norm of the gradients, None for any. scheduler: stepped after every batch.
    """

    def __init__(
        self,
        prepared: QATModel,
        loss: Callable[[Any, Any], Tensor],
        optimizer: torch.optim.Optimizer,
        *,
        distillation: Distillation | None = None,
        scheduler: Any = None,
        clip: float | None = None,
    ) -> None:
        if not bool(prepared.calibrated):
            raise UsageError(
                "the model has no ranges yet: call calibrate(prepared, batches) before it is trained"
            )
        self.prepared, self.loss, self.optimizer = prepared, loss, optimizer
        self.distillation, self.scheduler, self.clip = distillation, scheduler, clip

    def step(self, batch: Any, target: Any) -> float:
        """One optimiser step on inputs (as `example_inputs`) and their target; the loss before it.

        UsageError when the loss is NaN or infinite: the step is not taken.
        """
        args, kwargs = arguments_of(batch)
        outputs = self.prepared(*args, **kwargs)
        loss = self.loss(outputs, target)
        if self.distillation is not None:
            loss = loss + self.distillation.loss(outputs, batch)
        value = float(loss.detach())
        if not torch.isfinite(loss.detach()):
            raise UsageError(f"the loss is {value}; a lower learning rate, or bounded losses, keep it finite")
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.prepared.parameters(), self.clip)
        self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()
        return value

    def fit(self, batches: Iterable[tuple[Any, Any]], steps: int | None = None) -> list[float]:
        """A step for each (inputs, target), at most `steps`; the losses in order."""
        losses: list[float] = []
        for batch, target in batches:
            if steps is not None and len(losses) >= steps:
                break
            losses.append(self.step(batch, target))
            report_progress(f"training: step {len(losses)}, loss {losses[-1]:.4g}")
        return losses


def _real_leaves(outputs: Any) -> list[Tensor]:
    return [
        leaf for leaf in _pytree.tree_leaves(outputs) if isinstance(leaf, Tensor) and leaf.is_floating_point()
    ]
