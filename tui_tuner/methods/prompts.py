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
from tui_tuner.methods.lora import saved_modules
from tui_tuner.methods.weights import HEADED
from tui_tuner.models.evaluating import evaluating
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
    made = kind == "p_tuning" or (kind == "prefix_tuning" and config.method.encoder_size is not None)
    words = None if made else _first_words(config, model)  # a network makes them
    try:
        model = get_peft_model(model, _settings(model, config, peft_type))
        if kind != "prefix_tuning":
            model.word_embeddings = model.get_base_model().get_input_embeddings()
        with evaluating(model):
            with torch.no_grad():
                if words is not None and not _begin_as(model, words):
                    words = None
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
    width = model.get_input_embeddings().weight.shape[1]
    common: dict[str, Any] = {
        "task_type": peft_type,
        "num_virtual_tokens": method.virtual_tokens,
        "modules_to_save": saved_modules(model, peft_type) or None,
    }
    if peft_type in HEADED:  # peft looks for these under names that not every encoder gives them
        shape = model.config.get_text_config()
        common |= {"token_dim": width, "num_layers": shape.num_hidden_layers}
        common |= {"num_attention_heads": shape.num_attention_heads}
    if method.kind == "prompt_tuning":
        return PromptTuningConfig(**common)
    if method.kind == "p_tuning":
        return PromptEncoderConfig(encoder_hidden_size=method.encoder_size or width, **common)
    if peft_type in HEADED:
        common |= _key_shape(model)
    return PrefixTuningConfig(
        prefix_projection=method.encoder_size is not None,
        encoder_hidden_size=method.encoder_size,
        **common,
    )


def _key_shape(model: Any) -> dict[str, Any]:
    """The heads and the width of the keys of each layer, which a prefix is made of."""
    shape = model.config.get_text_config()
    heads = getattr(shape, "num_key_value_heads", None) or shape.num_attention_heads
    width = getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads
    return {"num_attention_heads": heads, "token_dim": heads * width}


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


def _begin_as(model: Any, words: Any) -> bool:
    """Give the virtual tokens the embeddings of words, or the keys and values the model makes of them.

    Returns:
        Whether it could: a model that reads in both directions keeps no keys, for it reads words before a
        text with the text after them.
    """
    weight = model.prompt_encoder[model.active_adapter].embedding.weight
    if not _keeps_prefix(model):
        weight.copy_(model.word_embeddings(words))
        return True
    from peft import initialize_kv_prefix_from_past_key_values

    base = model.get_base_model()
    inner = base if str(model.active_peft_config.task_type) not in HEADED else base.base_model
    cache = getattr(inner(input_ids=words[None], use_cache=True), "past_key_values", None)
    if cache is None and str(model.active_peft_config.task_type) in HEADED:
        return False
    initialize_kv_prefix_from_past_key_values(model, past_key_values=cache)
    return True


def _seen(found: Any) -> Any:
    """What a model says: [1, positions, numbers] for each position, or [1, 1, numbers] for a whole text."""
    import torch

    if hasattr(found, "start_logits"):
        return torch.stack([found.start_logits, found.end_logits], dim=-1)
    return found.logits if found.logits.dim() == 3 else found.logits[:, None]


def _check(model: Any, words: Any) -> None:
    """Raise `ConfigError` unless words as virtual tokens are read as words, and gradients reach them."""
    import torch

    kind = model.active_peft_config.peft_type.value.lower()
    if "state" in inspect.signature(model.get_base_model().forward).parameters:
        # RWKV: peft would put the virtual tokens before each token of an answer again
        raise _refused(kind, _("it keeps a state of its own from token to token"))
    device = model.get_input_embeddings().weight.device
    special = {getattr(model.config, name, None) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    usual = [token for token in range(1, _PROBE + 8) if token not in special]
    text = torch.tensor([usual[:_PROBE]], device=device)
    whole_text = str(model.active_peft_config.task_type) == "SEQ_CLS"
    positions = 1 if whole_text else _PROBE
    # a classifier's forward knows no cache to leave out
    options = {} if str(model.active_peft_config.task_type) in HEADED else {"use_cache": False}

    def read() -> Any:
        logits = _seen(model(input_ids=text, attention_mask=torch.ones_like(text), **options))
        if logits.shape[1] != positions + (0 if whole_text else virtual_positions(model)):
            raise _refused(
                kind, _("{count} positions came back for {asked} tokens", count=logits.shape[1], asked=_PROBE)
            )
        return logits[:, -positions:].float()

    if words is not None:
        with torch.no_grad():
            whole = torch.cat([words[None], text], dim=1)
            truth = _seen(model.get_base_model()(input_ids=whole, **options))[:, -positions:].float()
            apart = float((read() - truth).square().mean().sqrt() / truth.std())
        if not apart < (1e-3 if model.dtype == torch.float32 else 0.1):
            raise _refused(
                kind, _("words as virtual tokens are read otherwise than words, by {apart:.2g}", apart=apart)
            )
    trained = [one for one in model.prompt_encoder.parameters() if one.requires_grad]
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
