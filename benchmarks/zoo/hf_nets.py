"""Architectures of Hugging Face's transformers, small, with seeded random weights: what timm has not."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.zoo.subject import Made, Subject

if TYPE_CHECKING:
    import torch

_SMALL = {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 384}
_PYRAMID = {"depths": [2, 2, 2, 2], "hidden_sizes": [40, 80, 160, 320]}
_NECK = {"neck_hidden_sizes": [48, 96, 192, 192], "fusion_hidden_size": 64}
_STAGES = ["stage1", "stage2", "stage3", "stage4"]
_DINO = {**_SMALL, "num_hidden_layers": 4, "image_size": 224, "out_indices": [1, 2, 3, 4]}

# Model class, config class, arguments (a config in them is a pair), which outputs, input dims or "ids".
Net = tuple[str, str, dict[str, Any], tuple[str, ...], tuple[int, ...] | str]
_LAST = ("last_hidden_state",)
_SHALLOW = {**_SMALL, "num_hidden_layers": 2}
_NETS: dict[str, Net] = {
    "segformer": ("SegformerForSemanticSegmentation", "SegformerConfig", {}, ("logits",), (1, 3, 256, 256)),
    "mobilevit": ("MobileViTForSemanticSegmentation", "MobileViTConfig", {}, ("logits",), (1, 3, 256, 256)),
    "mobilenet_v2_deeplab": (
        "MobileNetV2ForSemanticSegmentation",
        "MobileNetV2Config",
        {},
        ("logits",),
        (1, 3, 224, 224),
    ),
    "dpt": (
        "DPTForDepthEstimation",
        "DPTConfig",
        {**_SMALL, **_NECK, "num_hidden_layers": 4, "backbone_out_indices": [0, 1, 2, 3]},
        ("predicted_depth",),
        (1, 3, 384, 384),
    ),
    "depth_anything": (
        "DepthAnythingForDepthEstimation",
        "DepthAnythingConfig",
        {
            **_NECK,
            "reassemble_hidden_size": 192,
            "backbone_config": ("Dinov2Config", {**_DINO, "reshape_hidden_states": False}),
        },
        ("predicted_depth",),
        (1, 3, 224, 224),
    ),
    "glpn": ("GLPNForDepthEstimation", "GLPNConfig", {}, ("predicted_depth",), (1, 3, 256, 256)),
    "swinv2": (
        "Swinv2Model",
        "Swinv2Config",
        {"image_size": 256, "window_size": 8},
        ("last_hidden_state",),
        (1, 3, 256, 256),
    ),
    "swin2sr": (
        "Swin2SRForImageSuperResolution",
        "Swin2SRConfig",
        {"embed_dim": 60, "depths": [2, 2], "num_heads": [6, 6], "image_size": 64},
        ("reconstruction",),
        (1, 3, 64, 64),
    ),
    "convnextv2": ("ConvNextV2Model", "ConvNextV2Config", _PYRAMID, ("last_hidden_state",), (1, 3, 224, 224)),
    "upernet": (
        "UperNetForSemanticSegmentation",
        "UperNetConfig",
        {"backbone_config": ("ConvNextConfig", {**_PYRAMID, "out_features": _STAGES}), "hidden_size": 64},
        ("logits",),
        (1, 3, 256, 256),
    ),
    "pvt": ("PvtModel", "PvtConfig", {}, ("last_hidden_state",), (1, 3, 224, 224)),
    "poolformer": ("PoolFormerForImageClassification", "PoolFormerConfig", {}, ("logits",), (1, 3, 224, 224)),
    "focalnet": ("FocalNetForImageClassification", "FocalNetConfig", {}, ("logits",), (1, 3, 224, 224)),
    "levit": ("LevitForImageClassification", "LevitConfig", {}, ("logits",), (1, 3, 224, 224)),
    "hgnet_v2": ("HGNetV2ForImageClassification", "HGNetV2Config", {}, ("logits",), (1, 3, 224, 224)),
    "yolos": (
        "YolosForObjectDetection",
        "YolosConfig",
        {**_SMALL, "num_hidden_layers": 3, "image_size": [256, 256]},
        ("logits", "pred_boxes"),
        (1, 3, 256, 256),
    ),
    "detr": (
        "DetrForObjectDetection",
        "DetrConfig",
        {
            "use_timm_backbone": False,
            "use_pretrained_backbone": False,
            "backbone": None,
            "backbone_config": (
                "ResNetConfig",
                {"depths": [1, 1, 1, 1], "hidden_sizes": [64, 128, 256, 512], "out_features": ["stage4"]},
            ),
            "d_model": 64,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "num_queries": 20,
        },
        ("logits", "pred_boxes"),
        (1, 3, 256, 256),
    ),
    "sam_encoder": (
        "SamVisionModel",
        "SamVisionConfig",
        {
            "num_hidden_layers": 3,
            "hidden_size": 96,
            "num_attention_heads": 3,
            "image_size": 256,
            "global_attn_indexes": [1],
            "window_size": 7,
        },
        ("last_hidden_state",),
        (1, 3, 256, 256),
    ),
    "clip_vision": (
        "CLIPVisionModel",
        "CLIPVisionConfig",
        {"num_hidden_layers": 3},
        ("last_hidden_state",),
        (1, 3, 224, 224),
    ),
    "videomae": (
        "VideoMAEModel",
        "VideoMAEConfig",
        {**_SMALL, "num_hidden_layers": 2, "num_frames": 4, "image_size": 112},
        ("last_hidden_state",),
        (1, 4, 3, 112, 112),
    ),
    "mobilevit_v2": (
        "MobileViTV2ForSemanticSegmentation",
        "MobileViTV2Config",
        {"width_multiplier": 0.5},
        ("logits",),
        (1, 3, 256, 256),
    ),
    "vitpose": (
        "VitPoseForPoseEstimation",
        "VitPoseConfig",
        {
            "backbone_config": (
                "VitPoseBackboneConfig",
                {**_SHALLOW, "image_size": [256, 192], "out_features": ["stage2"]},
            ),
            "num_labels": 17,
        },
        ("heatmaps",),
        (1, 3, 256, 192),
    ),
    "zoedepth": (
        "ZoeDepthForDepthEstimation",
        "ZoeDepthConfig",
        {
            "backbone_config": (
                "BeitConfig",
                {
                    **_SMALL,
                    "num_hidden_layers": 4,
                    "image_size": 128,
                    "out_features": _STAGES,
                    "reshape_hidden_states": False,
                    "use_relative_position_bias": True,
                },
            ),
            "neck_hidden_sizes": [24, 48, 96, 96],
            "fusion_hidden_size": 32,
            "bottleneck_features": 32,
            "backbone": None,
            "use_pretrained_backbone": False,
        },
        ("predicted_depth",),
        (1, 3, 128, 128),
    ),
    "maskformer": (
        "MaskFormerForInstanceSegmentation",
        "MaskFormerConfig",
        {
            "backbone_config": (
                "ResNetConfig",
                {"depths": [1, 1, 1, 1], "hidden_sizes": [32, 64, 128, 256], "out_features": _STAGES},
            ),
            "mask_feature_size": 64,
            "fpn_feature_size": 64,
        },
        ("class_queries_logits", "masks_queries_logits"),
        (1, 3, 128, 128),
    ),
    "dinov2_registers": (
        "Dinov2WithRegistersModel",
        "Dinov2WithRegistersConfig",
        {**_SHALLOW, "image_size": 224},
        _LAST,
        (1, 3, 224, 224),
    ),
    "siglip_vision": ("SiglipVisionModel", "SiglipVisionConfig", _SHALLOW, _LAST, (1, 3, 224, 224)),
    "sam2_vision": ("Sam2VisionModel", "Sam2VisionConfig", {}, _LAST, (1, 3, 128, 128)),
    "timesformer": (
        "TimesformerModel",
        "TimesformerConfig",
        {**_SHALLOW, "num_frames": 4, "image_size": 112},
        _LAST,
        (1, 4, 3, 112, 112),
    ),
    "vivit": (
        "VivitModel",
        "VivitConfig",
        {**_SHALLOW, "num_frames": 4, "image_size": 112, "tubelet_size": [2, 16, 16]},
        _LAST,
        (1, 4, 3, 112, 112),
    ),
    "wav2vec2": (
        "Wav2Vec2Model",
        "Wav2Vec2Config",
        {**_SMALL, "num_hidden_layers": 2},
        ("last_hidden_state",),
        (1, 16000),
    ),
    "mobilebert": (
        "MobileBertModel",
        "MobileBertConfig",
        {"num_hidden_layers": 3, "vocab_size": 1000},
        ("last_hidden_state",),
        "ids",
    ),
    "gpt2": (
        "GPT2LMHeadModel",
        "GPT2Config",
        {
            "n_layer": 3,
            "vocab_size": 1000,
            "n_embd": 192,
            "n_head": 3,
            "use_cache": False,
            "bos_token_id": 0,
            "eos_token_id": 0,
        },
        ("logits",),
        "ids",
    ),
}


def subjects() -> list[Subject]:
    """All of them, judged by eager PyTorch."""
    return subjects_of(_NETS)


def subjects_of(nets: dict[str, Net]) -> list[Subject]:
    """Transformers' nets by name."""
    return [Subject(f"hf/{name}", partial(_made, net)) for name, net in nets.items()]


def _made(described: Net, folder: Path) -> Made:
    import torch
    import transformers

    del folder
    torch.manual_seed(0)
    model, config, arguments, wanted, dims = described
    net = getattr(transformers, model)(_config(transformers, config, arguments))
    _draw_weights(net)
    example = torch.randint(0, 1000, (1, 64)) if isinstance(dims, str) else torch.randn(dims)
    module = _picking(net, wanted).eval()
    with torch.no_grad():
        results = module(example)
    return Made((module, (example,)), {"x": example.numpy()}, [item.numpy() for item in results])


def _config(transformers: Any, name: str, arguments: dict[str, Any]) -> Any:
    nested = {
        key: _config(transformers, *value)
        if isinstance(value, tuple) and isinstance(value[1], dict)
        else value
        for key, value in arguments.items()
    }
    return getattr(transformers, name)(**nested)


def _draw_weights(net: torch.nn.Module) -> None:
    """LeCun-normal weights and plausible statistics: fresh transformers are nearly zero, and hide errors."""
    import torch

    for weight in net.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.uniform_(0.7, 1.3)
            module.running_mean.normal_(0, 0.1)


def _picking(net: torch.nn.Module, wanted: tuple[str, ...]) -> torch.nn.Module:
    """The net as a function of x alone that returns a tuple of the outputs called `wanted`."""
    import torch

    class Picking(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            result = self.inner(x)
            return tuple(getattr(result, name) for name in wanted)

    return Picking(net)
