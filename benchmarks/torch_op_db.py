"""PyTorch's own samples of its operators (op_db), converted, run and compared with eager: `make torch-ops`.

Every sample is right, refused with a reason, or a fault: SILENT MISMATCH (another result than eager
PyTorch's) or crash (an error that is no TiercastError). Writes `build/bench/torch_op_db.json`; exits 1 where
there is a fault.
"""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import nn
from torch.utils import _pytree

from tiercast.errors import TiercastError
from tiercast.package.file import write_package
from tiercast.parity import difference
from tiercast.pipeline import compile_plan
from tiercast.session import Session

RESULTS = Path(__file__).resolve().parents[1] / "build" / "bench" / "torch_op_db.json"
TOLERANCE = 1e-4
# What nets for pictures, faces and sequences are made of.
OPERATORS = """
    nn.functional.conv1d nn.functional.conv2d nn.functional.conv_transpose1d
    nn.functional.conv_transpose2d nn.functional.linear nn.functional.bilinear matmul mm bmm addmm addbmm
    baddbmm mv dot outer nn.functional.interpolate nn.functional.upsample_bilinear
    nn.functional.upsample_nearest nn.functional.grid_sample nn.functional.pixel_shuffle
    nn.functional.pixel_unshuffle nn.functional.unfold nn.functional.pad
    nn.functional.adaptive_avg_pool1d nn.functional.adaptive_avg_pool2d nn.functional.adaptive_max_pool2d
    nn.functional.avg_pool1d nn.functional.avg_pool2d nn.functional.max_pool1d nn.functional.max_pool2d
    nn.functional.batch_norm nn.functional.group_norm nn.functional.instance_norm
    nn.functional.layer_norm nn.functional.rms_norm nn.functional.local_response_norm
    nn.functional.normalize nn.functional.relu nn.functional.relu6 nn.functional.prelu
    nn.functional.leaky_relu nn.functional.elu nn.functional.celu nn.functional.selu nn.functional.silu
    nn.functional.mish nn.functional.gelu nn.functional.glu nn.functional.hardswish
    nn.functional.hardsigmoid nn.functional.hardtanh nn.functional.hardshrink nn.functional.softshrink
    nn.functional.tanhshrink nn.functional.softplus nn.functional.softsign nn.functional.logsigmoid
    nn.functional.threshold nn.functional.softmin softmax log_softmax
    nn.functional.scaled_dot_product_attention nn.functional.cosine_similarity
    nn.functional.pairwise_distance nn.functional.embedding nn.functional.one_hot
    nn.functional.channel_shuffle cat stack hstack vstack split split_with_sizes chunk tensor_split
    narrow unbind index_select gather take_along_dim scatter where masked_fill topk sort argmax argmin
    cumsum mean sum prod amax amin aminmax max min norm linalg.vector_norm var std var_mean logsumexp
    clamp clamp_min clamp_max add sub rsub mul div pow maximum minimum fmod remainder abs neg sign sqrt
    rsqrt reciprocal square exp exp2 expm1 log log2 log1p sin cos tan asin acos atan atan2 sinh cosh tanh
    sigmoid logit erf floor ceil round trunc frac lerp addcmul addcdiv hypot eq ne lt le gt ge logical_and
    logical_not isnan isinf permute transpose movedim reshape view flatten unflatten expand tile repeat
    repeat_interleave flip roll rot90 squeeze unsqueeze tril triu diagonal meshgrid einsum bucketize
    unfold constant_pad_nd nan_to_num clone zeros_like ones_like full_like float
"""
app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Outcome:
    """What became of one sample: "right", "refused" (`text`: why), "SILENT MISMATCH" or "crash"."""

    operator: str
    sample: str
    status: str
    text: str = ""


class Called(nn.Module):
    """An operator with all arguments but the first, which are constants of the model."""

    def __init__(
        self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any], takes_list: bool
    ) -> None:
        super().__init__()
        self.operator, self.args, self.kwargs, self.takes_list = operator, args, kwargs, takes_list

    def forward(self, *x: torch.Tensor) -> Any:
        """The operator on one tensor, or on a list of them."""
        return self.operator(list(x) if self.takes_list else x[0], *self.args, **self.kwargs)


@app.command()
def main(
    only: Annotated[str, typer.Option(help="comma-separated names of operators")] = "",
    samples: Annotated[int, typer.Option(help="samples of each operator")] = 3,
) -> None:
    """Converts the samples and tells what became of them."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.ERROR)
    names = only.split(",") if only else OPERATORS.split()
    outcomes: list[Outcome] = []
    console = Console(stderr=True)
    with Progress(console=console) as progress:
        task = progress.add_task("op_db", total=len(names))
        for name in names:
            progress.update(task, advance=1, description=name)
            for outcome in judge_operator(name, samples):
                outcomes.append(outcome)
                if outcome.status not in ("right", "refused"):
                    console.print(f"{name} {outcome.sample}: {outcome.status}: {outcome.text}", markup=False)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))
    _show(outcomes)
    raise typer.Exit(int(any(outcome.status not in ("right", "refused") for outcome in outcomes)))


def judge_operator(name: str, most: int) -> Iterator[Outcome]:
    """An outcome for each of at most `most` samples, spread over all that the operator has."""
    from torch.testing._internal.common_methods_invocations import op_db

    info = next((item for item in op_db if item.name == name), None)
    if info is None:
        raise typer.BadParameter(f"op_db has no operator {name!r}")
    torch.manual_seed(0)
    usable = []
    kind = torch.float32 if torch.float32 in info.dtypes else torch.int64
    for sample in info.sample_inputs("cpu", kind):
        takes_list = not isinstance(sample.input, torch.Tensor)
        tensors = sample.input if takes_list else [sample.input]
        if not isinstance(tensors, (list, tuple)) or not tensors:
            continue
        if all(isinstance(item, torch.Tensor) and item.numel() and item.dim() for item in tensors):
            module = Called(info.op, sample.args, sample.kwargs, takes_list)
            usable.append(([item.detach() for item in tensors], module))
    step = max(1, len(usable) // most)
    for tensors, module in usable[::step][:most]:
        yield judge_sample(name, module, tensors)


def judge_sample(name: str, module: Called, tensors: list[torch.Tensor]) -> Outcome:
    """Compiles the call of one operator, runs it and compares every output with eager PyTorch."""
    text = _describe(module, tensors)
    with torch.no_grad():
        expected = [np.asarray(leaf) for leaf in _pytree.tree_leaves(module(*tensors))]
    try:
        plan = compile_plan((module, tuple(tensors))).plan
        with tempfile.TemporaryDirectory() as folder:
            session = Session(write_package(plan, Path(folder) / "op.tcpkg"))
            arrays = {port.name: tensor.numpy() for port, tensor in zip(plan.inputs, tensors, strict=True)}
            got = list(session.run(arrays).values())
    except TiercastError as error:
        return Outcome(name, text, "refused", str(error).splitlines()[0])
    except Exception as error:
        return Outcome(name, text, "crash", f"{type(error).__name__}: {error}")
    if len(got) != len(expected):
        return Outcome(name, text, "SILENT MISMATCH", f"{len(got)} outputs, PyTorch {len(expected)}")
    for index, (left, right) in enumerate(zip(got, expected, strict=True)):
        found = difference(left, right)
        if not found.within(TOLERANCE):
            return Outcome(
                name, text, "SILENT MISMATCH", f"output {index}: relative error {found.max_rel_error:.3g}"
            )
    return Outcome(name, text, "right")


def _describe(module: Called, tensors: list[torch.Tensor]) -> str:
    def short(value: Any) -> str:
        return str(list(value.shape)) if isinstance(value, torch.Tensor) else str(value)

    parts = [*map(short, tensors), *map(short, _pytree.tree_leaves(module.args))]
    return ", ".join([*parts, *(f"{name}={short(value)}" for name, value in module.kwargs.items())])


def _show(outcomes: list[Outcome]) -> None:
    reasons = Table("operator", "sample", "status", "reason", box=None)
    for outcome in outcomes:
        if outcome.status != "right":
            reasons.add_row(outcome.operator, outcome.sample, outcome.status, outcome.text)
    console = Console(width=180)
    console.print(reasons)
    counts = Counter(outcome.status for outcome in outcomes)
    operators = len({outcome.operator for outcome in outcomes})
    told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    console.print(f"{operators} operators, {len(outcomes)} samples: {told}")


if __name__ == "__main__":
    app()
