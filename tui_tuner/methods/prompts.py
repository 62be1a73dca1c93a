"""Prompt tuning, P-tuning and prefix tuning, through peft: trained virtual tokens before each sequence.

Where the virtual tokens begin as words, the model must at first answer as if those words stood before the
text. That is compared once, before anything is trained: it proves that this model reads virtual tokens where
they stand.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tui_tuner.config.kinds import METHODS
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ConfigError, TunerError
from tui_tuner.locales import _
from tui_tuner.models.out_of_memory import is_out_of_memory
from tui_tuner.text import one_line

FREQUENT = 5000  # tokens that a byte-pair vocabulary lists first are its most frequent
_PROBE = 4  # tokens of the text that the comparison reads


def attach_prompt(model: Any, config: RunConfig, peft_type: str) -> Any:
    """Freeze the model and put virtual tokens, in float32, before what it reads.

    Raises:
        ConfigError: the initial text is too long, or this model does not read virtual tokens.
    """
    import torch
    from peft import get_peft_model

    kind = config.method.kind
    words = _first_words(config, model) if config.method.encoder_size is None and kind != "p_tuning" else None
    try:
        model = get_peft_model(model, _settings(model, config, peft_type))
        if kind != "prefix_tuning":
            model.word_embeddings = model.get_base_model().get_input_embeddings()
        with _still(model):
            if words is not None:
                with torch.no_grad():
                    _begin_as(model, words)
            _check(model, words)
    except TunerError:
        raise
    except Exception as error:  # whatever a model's own code makes of virtual tokens
        if is_out_of_memory(error):
            raise
        raise _refused(config.method.kind, f"{type(error).__name__}: {error}") from error
    return model


def virtual_tokens(model: Any) -> int:
    """Virtual tokens before each sequence of a model: places in its context. 0 without a prompt method."""
    settings = getattr(model, "active_peft_config", None) if hasattr(model, "peft_config") else None
    return settings.num_virtual_tokens if settings is not None and settings.is_prompt_learning else 0


def virtual_positions(model: Any) -> int:
    """Positions that such a model gives logits for before those of the text: prefix tuning has none."""
    return 0 if _keeps_prefix(model) else virtual_tokens(model)


def _keeps_prefix(model: Any) -> bool:
    """Whether the virtual tokens are keys and values rather than embeddings."""
    return bool(virtual_tokens(model)) and str(model.active_peft_config.peft_type.value) == "PREFIX_TUNING"


def _settings(model: Any, config: RunConfig, peft_type: str) -> Any:
    from peft import PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig

    method = config.method
    common: dict[str, Any] = {"task_type": peft_type, "num_virtual_tokens": method.virtual_tokens}
    if method.kind == "prompt_tuning":
        return PromptTuningConfig(**common)
    if method.kind == "p_tuning":
        width = model.get_input_embeddings().weight.shape[1]
        return PromptEncoderConfig(encoder_hidden_size=method.encoder_size or width, **common)
    return PrefixTuningConfig(
        prefix_projection=method.encoder_size is not None,
        encoder_hidden_size=method.encoder_size,
        **common,
    )


def _first_words(config: RunConfig, model: Any) -> Any:
    """Tokens that the virtual ones begin as, [virtual tokens] int64: the initial text, or frequent tokens.

    Prompts that begin as words learn better than ones that begin at random (arXiv 2104.08691, figure 3;
    arXiv 2101.00190, section 7.4).
    """
    import torch

    from tui_tuner.models.loading import load_tokenizer

    count = config.method.virtual_tokens
    device = model.get_input_embeddings().weight.device
    tokenizer = load_tokenizer(config.model)
    if config.method.initial_text is not None:
        ids = tokenizer(config.method.initial_text, add_special_tokens=False)["input_ids"]
        if not ids or len(ids) > count:
            raise ConfigError(
                _(
                    "the text has {tokens} tokens, and there are {count} virtual tokens.",
                    tokens=len(ids),
                    count=count,
                ),
                where="method.initial_text",
                hint=_("Shorten it, or set method.virtual_tokens to {tokens}.", tokens=max(1, len(ids))),
            )
        return torch.tensor((ids * -(-count // len(ids)))[:count], device=device)
    special = set(tokenizer.all_special_ids)
    frequent = [token for token in range(min(len(tokenizer), FREQUENT)) if token not in special]
    return torch.tensor(frequent, device=device)[torch.randint(len(frequent), (count,))]


def _begin_as(model: Any, words: Any) -> None:
    """Give the virtual tokens the embeddings of words, or the keys and values the model makes of them."""
    weight = model.prompt_encoder[model.active_adapter].embedding.weight
    if not _keeps_prefix(model):
        weight.copy_(model.word_embeddings(words))
        return
    from peft import initialize_kv_prefix_from_past_key_values

    cache = model.get_base_model()(input_ids=words[None], use_cache=True).past_key_values
    initialize_kv_prefix_from_past_key_values(model, past_key_values=cache)


def _check(model: Any, words: Any) -> None:
    """Raise `ConfigError` unless words as virtual tokens are read as words, and gradients reach them."""
    import torch

    kind = model.active_peft_config.peft_type.value.lower()
    if "state" in inspect.signature(model.get_base_model().forward).parameters:
        # RWKV: peft would put the virtual tokens before each token of an answer again
        raise _refused(kind, _("it keeps a state of its own from token to token"))
    device = model.get_input_embeddings().weight.device
    text = torch.arange(_PROBE, device=device)[None] + 1

    def read() -> Any:
        logits = model(input_ids=text, use_cache=False).logits
        if logits.shape[1] != virtual_positions(model) + _PROBE:
            raise _refused(
                kind, _("{count} positions came back for {asked} tokens", count=logits.shape[1], asked=_PROBE)
            )
        return logits[:, -_PROBE:].float()

    if words is not None:
        with torch.no_grad():
            whole = torch.cat([words[None], text], dim=1)
            truth = model.get_base_model()(input_ids=whole, use_cache=False).logits[:, -_PROBE:].float()
            apart = float((read() - truth).square().mean().sqrt() / truth.std())
        if not apart < (1e-3 if model.dtype == torch.float32 else 0.1):
            raise _refused(
                kind, _("words as virtual tokens are read otherwise than words, by {apart:.2g}", apart=apart)
            )
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with _moved(model.prompt_encoder[model.active_adapter].embedding.weight):
        gradients = torch.autograd.grad(read().square().sum(), trained, allow_unused=True)
    if not any(one is not None and bool((one != 0).any()) for one in gradients):
        raise _refused(kind, _("no gradient reaches the virtual tokens"))


def _refused(kind: str, why: str) -> ConfigError:
    return ConfigError(
        _(
            "{method} does not work with this model: {why}.",
            method=_(METHODS[kind].label).lower(),
            why=one_line(why, 300).rstrip("."),
        ),
        where="method.kind",
        hint=_("Use lora, or prompt_tuning.") if kind == "prefix_tuning" else _("Use lora."),
    )


@contextmanager
def _still(model: Any) -> Iterator[None]:
    """Without dropout, and back to the mode before."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@contextmanager
def _moved(weight: Any) -> Iterator[None]:
    """A little away from where it is, as after a step: some models look for the embeddings of words."""
    import torch

    before = weight.detach().clone()
    with torch.no_grad():
        weight.mul_(1.01)
    try:
        yield
    finally:
        with torch.no_grad():
            weight.copy_(before)
