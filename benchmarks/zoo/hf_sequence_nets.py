"""Transformers' nets for sound and text, small, with seeded random weights."""

from __future__ import annotations

from typing import Any

from benchmarks.zoo.hf_nets import Net, subjects_of
from benchmarks.zoo.subject import Subject

_SMALL: dict[str, Any] = {
    "hidden_size": 96,
    "num_attention_heads": 3,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
}
_TEXT = {**_SMALL, "vocab_size": 1000}
_DECODER = {**_TEXT, "num_key_value_heads": 1, "use_cache": False}
_LAST = ("last_hidden_state",)
_SECOND = (1, 8000)
_NETS: dict[str, Net] = {
    "audio_spectrogram": ("ASTModel", "ASTConfig", {**_SMALL, "max_length": 256}, _LAST, (1, 256, 128)),
    "hubert": ("HubertModel", "HubertConfig", _SMALL, _LAST, _SECOND),
    "sew": ("SEWModel", "SEWConfig", _SMALL, _LAST, _SECOND),
    "wavlm": ("WavLMModel", "WavLMConfig", _SMALL, _LAST, _SECOND),
    "distilbert": (
        "DistilBertModel",
        "DistilBertConfig",
        {"dim": 96, "n_heads": 3, "hidden_dim": 192, "n_layers": 2, "vocab_size": 1000},
        _LAST,
        "ids",
    ),
    "albert": ("AlbertModel", "AlbertConfig", {**_TEXT, "embedding_size": 48}, _LAST, "ids"),
    "electra": ("ElectraModel", "ElectraConfig", {**_TEXT, "embedding_size": 48}, _LAST, "ids"),
    "deberta_v2": (
        "DebertaV2Model",
        "DebertaV2Config",
        {**_TEXT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
        _LAST,
        "ids",
    ),
    "t5_encoder": (
        "T5EncoderModel",
        "T5Config",
        {"d_model": 96, "d_kv": 32, "num_heads": 3, "d_ff": 192, "num_layers": 2, "vocab_size": 1000},
        _LAST,
        "ids",
    ),
    "mpnet": ("MPNetModel", "MPNetConfig", _TEXT, _LAST, "ids"),
    "fnet": (
        "FNetModel",
        "FNetConfig",
        {"hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 2, "vocab_size": 1000},
        _LAST,
        "ids",
    ),
    "llama": ("LlamaForCausalLM", "LlamaConfig", _DECODER, ("logits",), "ids"),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", _DECODER, ("logits",), "ids"),
}


def subjects() -> list[Subject]:
    """All of them, judged by eager PyTorch."""
    return subjects_of(_NETS)
