"""The families of models that a GGUF file of ours carries, and what llama.cpp computes of them.

llama.cpp has its own code for each family and reads little of a config: what it does not read it assumes. So
each family says here what is assumed, and a model that differs is refused before any work, for its file would
load and answer otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tui_tuner.errors import ModelError
from tui_tuner.locales import _
from tui_tuner.text import one_line

GELU_TANH = ("gelu_pytorch_tanh", "gelu_new")
# Layers at which llama.cpp takes a gemma 2 or 3 for the one of 27 billion, which scales attention differently
_GEMMA_27B = {"gemma2": 46, "gemma3": 62}


@dataclass(frozen=True)
class Family:
    """How one architecture of llama.cpp differs from what transformers stores.

    Args:
        architecture: Its name in GGUF, `general.architecture`.
        model_types: The names of transformers (`model_type`) that become it.
        activations: The activation functions that llama.cpp computes for it.
        interleaved: Whether the rows of each head's queries and keys are stored in pairs, as its rotary
            embedding has them there (transformers keeps two halves).
        norm_offset: What is added to the weights of norms, which transformers stores without it.
        transposed: Endings of weights that transformers stores inputs first (Conv1D of GPT-2).
        full_every: For models with windows: each how many layers one sees the whole text; 0 for no windows.
        experts: Whether its layers are mixtures of experts.
        reader: The `model_type` by which transformers reads the file; empty if it has none.
    """

    architecture: str
    model_types: tuple[str, ...]
    activations: tuple[str, ...] = ("silu",)
    interleaved: bool = False
    norm_offset: float = 0.0
    transposed: tuple[str, ...] = ()
    full_every: int = 0
    experts: bool = False
    reader: str = ""


FAMILIES = (
    Family("llama", ("llama", "mistral"), interleaved=True, reader="llama"),
    Family("qwen2", ("qwen2",), reader="qwen2"),
    Family("qwen3", ("qwen3",), reader="qwen3"),
    Family("qwen3moe", ("qwen3_moe",), experts=True, reader="qwen3_moe"),
    Family("gemma", ("gemma",), GELU_TANH, norm_offset=1.0),
    Family("gemma2", ("gemma2",), GELU_TANH, norm_offset=1.0, full_every=2, reader="gemma2"),
    Family("gemma3", ("gemma3_text",), GELU_TANH, norm_offset=1.0, full_every=6, reader="gemma3_text"),
    Family("phi3", ("phi3",), reader="phi3"),
    Family(
        "gpt2",
        ("gpt2",),
        GELU_TANH,
        transposed=("c_attn.weight", "c_proj.weight", "c_fc.weight"),
        reader="gpt2",
    ),
)
_BY_TYPE = {name: family for family in FAMILIES for name in family.model_types}


def find_family(config: Any, where: str) -> Family:
    """Return the family of a model by its config (`transformers`' object, of the part that writes text).

    Raises:
        ModelError: GGUF does not carry it, or llama.cpp would compute it differently.
    """
    family = _BY_TYPE.get(str(config.model_type))
    if family is None:
        raise ModelError(
            _(
                "GGUF files are written for {families}, and this is a model of type {kind}.",
                families=", ".join(_BY_TYPE),
                kind=one_line(config.model_type, 60),
            ),
            where=one_line(where),
            hint=_(
                "`--to merged` exports every model. llama.cpp may convert that folder: "
                "`python convert_hf_to_gguf.py FOLDER`."
            ),
        )
    for problem in _list_differences(family, config):
        raise ModelError(
            _("llama.cpp would compute this model differently: {problem}", problem=problem),
            where=one_line(where),
            hint=_("Export it with `--to merged`; transformers and vLLM compute it as it was trained."),
        )
    return family


def _list_differences(family: Family, config: Any) -> Iterator[str]:
    """Yield what of a config llama.cpp would pass over."""
    activation = find_activation(config)
    if activation not in family.activations:
        yield _("its activation function is {name}.", name=one_line(activation, 40))
    if getattr(config, "num_key_value_heads", None) == 0:
        yield _("it has no key-value heads.")
    if family.full_every:
        yield from _list_window_differences(family, config)
    if family.architecture in _GEMMA_27B:
        yield from _list_scale_differences(family, config)
    if family.architecture == "gemma2" and None in (
        config.attn_logit_softcapping,
        config.final_logit_softcapping,
    ):
        yield _("its logits are not capped.")
    if family.architecture == "gemma3" and config.attn_logit_softcapping is not None:
        yield _("the logits of its attention are capped.")
    if family.experts and (config.decoder_sparse_step != 1 or config.mlp_only_layers):
        yield _("some of its layers have no experts.")
    if family.experts and not config.norm_topk_prob:
        yield _("the weights of its experts do not add up to 1.")
    if family.architecture == "gpt2" and (config.scale_attn_by_inverse_layer_idx or config.n_inner):
        yield _("its layers are scaled or widened in a way of their own.")
    if bool(getattr(config, "use_bidirectional_attention", False)):
        yield _("it sees the text that follows.")


def find_activation(config: Any) -> str:
    """Return the name of a model's activation function."""
    for name in ("hidden_activation", "hidden_act", "activation_function"):
        found = getattr(config, name, None)
        if found:
            return str(found)
    return ""


def _list_window_differences(family: Family, config: Any) -> Iterator[str]:
    kinds = list(config.layer_types or ())
    expected = [
        "full_attention" if (number + 1) % family.full_every == 0 else "sliding_attention"
        for number in range(len(kinds))
    ]
    if kinds != expected:
        yield _("its layers with a window come in another order.")


def _list_scale_differences(family: Family, config: Any) -> Iterator[str]:
    largest = config.num_hidden_layers == _GEMMA_27B[family.architecture]
    scale = config.hidden_size // config.num_attention_heads if largest else config.head_dim
    if config.query_pre_attn_scalar != scale:
        yield _("its attention is scaled by {scale}.", scale=config.query_pre_attn_scalar)


def list_remarks(family: Family, config: Any) -> list[str]:
    """List what programs made of llama.cpp do differently, where it matters only for some texts."""
    window = getattr(config, "sliding_window", None)
    used = window and getattr(config, "use_sliding_window", True)
    if used and not family.full_every and window < config.max_position_embeddings:
        return [
            _(
                "The model sees {window:,} tokens back, and llama.cpp all of them: answers to longer texts "
                "differ.",
                window=window,
            )
        ]
    return []
