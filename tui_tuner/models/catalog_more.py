"""More of the catalogue: encoder-decoders and newer encoders, as their published config.json has them."""

from __future__ import annotations

from typing import Any


def _t5(width: int, inner: int, layers: int, heads: int, kind: str = "t5", **more: Any) -> dict[str, Any]:
    return {
        "model_type": kind,
        "is_encoder_decoder": True,
        "d_model": width,
        "d_kv": 64,
        "d_ff": inner,
        "num_layers": layers,
        "num_decoder_layers": layers,
        "num_heads": heads,
        "vocab_size": 32128,
        "decoder_start_token_id": 0,
        "pad_token_id": 0,
        "eos_token_id": 1,
        **more,
    }


_GATED: dict[str, Any] = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
_MT5: dict[str, Any] = {**_GATED, "kind": "mt5", "vocab_size": 250112}


def _bart(width: int, layers: int, heads: int, **more: Any) -> dict[str, Any]:
    sides = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in (("layers", layers), ("attention_heads", heads), ("ffn_dim", 4 * width))
    }
    return {
        "model_type": "bart",
        "is_encoder_decoder": True,
        "d_model": width,
        **sides,
        "vocab_size": 50265,
        "max_position_embeddings": 1024,
        "decoder_start_token_id": 2,
        **more,
    }


# config, hub ids that share it, parameters as the hub counts them
MORE: tuple[tuple[dict[str, Any], str, int | None], ...] = (
    (_t5(512, 2048, 6, 8), "t5-small google-t5/t5-small", 60_506_624),
    (_t5(768, 3072, 12, 12), "t5-base google-t5/t5-base", 222_903_552),
    (_t5(1024, 4096, 24, 16), "t5-large google-t5/t5-large", 737_668_096),
    (_t5(512, 1024, 8, 6, **_GATED), "google/flan-t5-small", 76_961_152),
    (_t5(768, 2048, 12, 12, **_GATED), "google/flan-t5-base", 247_577_856),
    (_t5(1024, 2816, 24, 16, **_GATED), "google/flan-t5-large", 783_150_080),
    (_t5(2048, 5120, 24, 32, **_GATED), "google/flan-t5-xl", 2_849_757_184),
    (_t5(512, 1024, 8, 6, **_MT5), "google/mt5-small", 300_176_768),
    (_t5(768, 2048, 12, 12, **_MT5), "google/mt5-base", 582_401_280),
    (_t5(1024, 2816, 24, 16, **_MT5), "google/mt5-large", 1_229_581_312),
    (_bart(768, 6, 12), "facebook/bart-base", 139_420_416),
    (_bart(1024, 12, 16), "facebook/bart-large", None),
    (_bart(1024, 12, 16, vocab_size=50264), "facebook/bart-large-cnn", 406_290_432),
    (
        _bart(1024, 12, 16, model_type="mbart", vocab_size=250054, activation_function="relu"),
        "facebook/mbart-large-50",
        None,
    ),
    ({"model_type": "modernbert"}, "answerdotai/ModernBERT-base", None),
    (
        {
            "model_type": "modernbert",
            "hidden_size": 1024,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "intermediate_size": 2624,
        },
        "answerdotai/ModernBERT-large",
        None,
    ),
)
