"""Architectures of timm, from its definitions, with seeded random weights; eager PyTorch judges.

timm imports torchvision for things that no net here needs, and PyPI's torchvision does not load beside a CPU
build of PyTorch: an empty package stands in for it. timm is installed without its dependencies.
"""

from __future__ import annotations

import enum
import importlib.machinery
import sys
import types
from functools import partial
from importlib.abc import Loader, MetaPathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.zoo.liveliness import enliven
from benchmarks.zoo.subject import Made, Subject

if TYPE_CHECKING:
    from collections.abc import Sequence

# Every family once, by its smallest member that is whole; input sides are small where the net takes any.
_ANY_SIZE = """
    resnet18 resnet10t resnet26d resnext50_32x4d seresnext26t_32x4d ecaresnet26t resnetv2_18 nf_resnet26
    res2next50 resnest14d skresnet18 resnetblur18 regnetx_002 regnety_002 regnetz_005 regnetv_040
    densenet121 vovnet39a ese_vovnet19b_slim_dw dla46x_c dpn48b hrnet_w18_small cspresnet50
    cs3darknet_focus_s cspnext_tiny sedarknet21 selecsls42 xception41p xception inception_v3 inception_v4
    inception_resnet_v2 tresnet_m repvgg_a0 mobileone_s1 gernet_s gcresnext26ts
    efficientnet_b0 efficientnet_lite0 tf_efficientnetv2_b0 gc_efficientnetv2_rw_t mobilenetv1_100
    mobilenetv2_035 mobilenetv3_small_050 mobilenetv4_conv_small mnasnet_small semnasnet_050 mixnet_s
    fbnetc_100 fbnetv3_b spnasnet_100 hardcorenas_a lcnet_035 lcnetv2_small tinynet_e rexnet_100
    ghostnet_050 ghostnetv2_100 ghostnetv3_050 repghostnet_050 repvit_m1 starnet_s050 fasternet_t0
    hgnetv2_b0 nfnet_l0 eca_nfnet_l0 convnext_zepto_rms convnext_atto convnextv2_atto convmixer_768_32
    inception_next_atto rdnet_tiny mambaout_femto iformer_t edgenext_xx_small mobilevit_xxs
    mobilevitv2_050 fastvit_t8 efficientvit_b0 poolformer_s12 poolformerv2_s12 convformer_s18 caformer_s18
    pvt_v2_b0 focalnet_tiny_srf tiny_vit_5m_224 davit_tiny
"""
_OWN_SIZE = """
    vit_tiny_patch16_224 vit_tiny_r_s16_p8_224 vit_relpos_small_patch16_224 vit_small_patch16_dinov3
    eva02_tiny_patch14_224 deit_tiny_distilled_patch16_224 beit_base_patch16_224 cait_xxs24_224
    convit_tiny pit_ti_224 tnt_s_patch16_224 crossvit_9_240 coat_lite_tiny levit_128s levit_conv_128s
    efficientformer_l1 efficientformerv2_s0 efficientvit_m0 swiftformer_xs swin_tiny_patch4_window7_224
    swinv2_cr_tiny_224 swinv2_tiny_window8_256 twins_svt_small twins_pcpvt_small nest_tiny visformer_tiny
    gcvit_xxtiny maxvit_pico_rw_256 coatnet_pico_rw_224 maxxvit_rmlp_nano_rw_256 xcit_nano_12_p8_224
    hiera_tiny_224 nextvit_small vitamin_small_224 botnet26t_256 halonet26t lambda_resnet26t mixer_s16_224
    gmixer_12_224 gmlp_ti16_224 resmlp_12_224 sequencer2d_s
"""


def subjects() -> list[Subject]:
    """One of each family."""
    return [
        *(Subject(f"timm/{name}", partial(_made, name, True)) for name in _ANY_SIZE.split()),
        *(Subject(f"timm/{name}", partial(_made, name, False)) for name in _OWN_SIZE.split()),
    ]


def _made(name: str, any_size: bool, folder: Path) -> Made:
    import torch

    timm = _timm()
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=10)
    size: tuple[int, ...] = (3, 128, 128) if any_size else net.default_cfg["input_size"]
    example = 2 * torch.rand((1, *size)) - 1
    enliven(net, example)
    with torch.no_grad():
        expected = net(example).numpy()
    return Made((net, (example,)), {"x": example.numpy()}, [expected])


def _timm() -> Any:
    if not any(isinstance(finder, _NoTorchvision) for finder in sys.meta_path):
        sys.meta_path.insert(0, _NoTorchvision())
    import timm

    return timm


class _Empty(types.ModuleType):
    """A module that has whatever is imported from it, as a class of no use."""

    __path__: Sequence[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "InterpolationMode":
            modes = ("NEAREST", "BILINEAR", "BICUBIC", "BOX", "HAMMING", "LANCZOS")
            return enum.Enum(name, {mode: mode.lower() for mode in modes})
        return type(name, (), {})


class _NoTorchvision(MetaPathFinder, Loader):
    """Finds an empty module under every name of torchvision."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.split(".")[0] != "torchvision":
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Empty(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing to run."""
