"""The registry of the reference models.

`build("mobilenet_v2")` or, where a command line wants `module:factory`, `benchmarks.models.zoo:mobilenet_v2`.
"""

from __future__ import annotations

import warnings
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from . import cartoon as _cartoon
from . import face, gesture, mobilenet, stories_seg
from . import inpaint as _inpaint
from . import portrait_seg as _portrait_seg
from . import vos as _vos
from .entry import Entry
from .seeding import generator_for, seed_module

ENTRIES: dict[str, Entry] = {
    **mobilenet.MODELS, **stories_seg.MODELS, **_inpaint.MODELS, **_portrait_seg.MODELS, **face.MODELS,
    **_cartoon.MODELS, **_vos.MODELS, **gesture.MODELS,
}  # fmt: skip


def names() -> list[str]:
    """The 12 reference models, in the order of every table."""
    return list(ENTRIES)


def build(name: str) -> tuple[nn.Module, dict[str, Tensor]]:
    """The model in eval mode and one example input per name, in forward order; the same on every call.

    Raises ValueError for an unknown name.
    """
    if name not in ENTRIES:
        raise ValueError(f"no reference model is called {name!r}; there are {', '.join(ENTRIES)}")
    return seed_module(name, ENTRIES[name]), ENTRIES[name].inputs(generator_for(name + "/example"))


def macs(name: str) -> int:
    """Multiply-accumulates of one run: convolutions, matrix products and recurrent layers."""
    module, inputs = build(name)
    # without mkldnn the recurrent layers run as matrix products, which the counter knows
    with warnings.catch_warnings(), torch.no_grad(), FlopCounterMode(display=False) as counter:
        warnings.simplefilter("ignore")  # switching mkldnn talks about TF32 on graphics cards
        with torch.backends.mkldnn.flags(enabled=False):
            module(*inputs.values())
    return int(counter.get_total_flops()) // 2


mobilenet_v2 = partial(build, "mobilenet_v2")
mobilenet_v3_small = partial(build, "mobilenet_v3_small")
stories_seg_256 = partial(build, "stories_seg_256")
stories_seg_512 = partial(build, "stories_seg_512")
inpaint = partial(build, "inpaint")
portrait_seg = partial(build, "portrait_seg")
landmark = partial(build, "landmark")
face_embed = partial(build, "face_embed")
cartoon = partial(build, "cartoon")
vos = partial(build, "vos")
gesture_gru = partial(build, "gesture_gru")
gesture_lstm = partial(build, "gesture_lstm")
