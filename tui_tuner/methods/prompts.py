"""Prompt tuning, P-tuning and prefix tuning, through peft: trained virtual tokens before each sequence.

If virtual tokens are initialised as words, the model must at first answer as if those words preceded the
text. This is checked once before training: it proves that the model reads virtual tokens in their place.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.kinds.methods import METHODS as KINDS
from tui_tuner.errors import ConfigError, ModelError, TunerError
from tui_tuner.locales import _
from tui_tuner.methods.cache_names import find_cache, join_cache_names
from tui_tuner.methods.layers import find_layers, name_saved_modules
from tui_tuner.methods.numbers.virtual_tokens import (
    PrefixNumbers,
    PromptNumbers,
    PTuningNumbers,
    PTuningV2Numbers,
)
from tui_tuner.methods.peft_method import PeftMethod
from tui_tuner.models.evaluation_mode import use_evaluation_mode
from tui_tuner.models.out_of_memory import is_out_of_memory
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor
    from torch.nn import Module

    from tui_tuner.config.schema import RunConfig

WRITING = "CAUSAL_LM"  # peft's name for a task of models that read in one direction, and write
# The first tokens of a byte-pair vocabulary are its most frequent ones
FREQUENT = 5000
_PROBE = 4  # tokens of the text that the check reads


class Prompt(PromptNumbers, PeftMethod):
    """Virtual tokens before the input of a frozen model, as embeddings in float32 that are trained directly.

    Attributes:
        keeps_prefix: The virtual tokens are keys and values of each layer rather than embeddings.
    """

    peft_type = "PROMPT_TUNING"
    names: ClassVar[Mapping[str, str]] = {"virtual_tokens": "num_virtual_tokens"}
    keeps_prefix = False

    def attach(self, model: Module, config: RunConfig, peft_type: str) -> Module:
        """Freeze the model and put virtual tokens before its input.

        Raises:
            ConfigError: the initial text is too long, or this model does not read virtual tokens.
        """
        import torch
        from peft import get_peft_model

        # There are no words where a network makes the virtual tokens, or where they begin at random
        words = _choose_words(config, model) if self.begins_as_words(config) else None
        try:
            model = get_peft_model(model, self.make_settings(model, config, peft_type))
            join_cache_names(model)
            if not self.keeps_prefix:
                model.word_embeddings = model.get_base_model().get_input_embeddings()
            with use_evaluation_mode(model):
                with torch.no_grad():
                    if words is not None and not _begin_as_words(self, model, words):
                        words = None
                _check_reading(self, model, words)
        except TunerError:
            raise
        # A model's own code may fail in any way if it is given virtual tokens
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise _refuse_model(self.name, f"{type(error).__name__}: {error}") from error
        return model

    def explain_end(self, settings: Mapping[str, Any]) -> str:
        if settings.get("prefix_projection") or self.peft_type == "P_TUNING":
            return _("the small network that made its virtual tokens is not kept after training.")
        return ""

    def continue_adapter(self, base: Module, folder: Path) -> Module:
        model = self._load_one(base, folder)  # peft itself loads virtual tokens for use alone
        model.active_peft_config.inference_mode = False
        model.prompt_encoder.requires_grad_(True)
        for module in model.modules():
            if type(module).__name__ == "ModulesToSaveWrapper":
                module.modules_to_save.requires_grad_(True)
        if not self.keeps_prefix:
            model.word_embeddings = model.get_base_model().get_input_embeddings()
        return model

    def merge_weights(self, model: Module) -> Module:
        raise ModelError(
            _(
                "prompt tuning, P-tuning and prefix tuning cannot be merged: they train virtual tokens "
                "before the text and change no weights."
            ),
            where="method.kind",
            hint=_("Use the adapter with peft and its model, or train with lora or ia3."),
        )

    def unwrap_model(self, model: Module) -> Module:
        return model  # the virtual tokens come from peft's wrapper

    def count_virtual_tokens(self, model: Module) -> int:
        return int(model.active_peft_config.num_virtual_tokens)

    def count_virtual_positions(self, model: Module) -> int:
        return self.count_virtual_tokens(model)

    def has_network(self, config: RunConfig) -> bool:
        """Return whether a small network produces the virtual tokens."""
        return False

    def begins_as_words(self, config: RunConfig) -> bool:
        """Return whether the virtual tokens begin as words, rather than at random."""
        return not self.has_network(config)

    def make_settings(self, model: Module, config: RunConfig, peft_type: str) -> Any:
        """Return peft's config of the adapter for this model."""
        from peft import PromptTuningConfig

        return PromptTuningConfig(**self.name_common(model, config, peft_type))

    def name_stacks(self, model: Module) -> dict[str, Any]:
        """Return what peft has to know of an encoder-decoder, whose encoder reads the virtual tokens."""
        # Else peft would keep as many again for the decoder, which nothing reads
        return {"num_transformer_submodules": 1}

    def name_common(self, model: Module, config: RunConfig, peft_type: str) -> dict[str, Any]:
        """Return the settings of peft that all methods with virtual tokens share."""
        common: dict[str, Any] = {
            "task_type": peft_type,
            "num_virtual_tokens": config.method.virtual_tokens,
            "modules_to_save": name_saved_modules(model, peft_type) or None,
        }
        # peft reads these from the model's config under names that not every encoder uses
        if peft_type != WRITING:
            shape = model.config.get_text_config()
            common |= {"token_dim": _find_width(model), "num_layers": shape.num_hidden_layers}
            common |= {"num_attention_heads": shape.num_attention_heads}
        if has_two_stacks(model):
            common |= {"num_layers": len(find_layers(model)), **self.name_stacks(model)}
        return common


class PTuning(PTuningNumbers, Prompt):
    """Embeddings that a small network produces; only the embeddings are needed after training."""

    peft_type = "P_TUNING"

    def has_network(self, config: RunConfig) -> bool:
        return True

    def make_settings(self, model: Module, config: RunConfig, peft_type: str) -> Any:
        from peft import PromptEncoderConfig

        return PromptEncoderConfig(
            encoder_hidden_size=config.method.encoder_size or _find_width(model),
            **self.name_common(model, config, peft_type),
        )


class Prefix(PrefixNumbers, Prompt):
    """Keys and values of each layer, trained directly or produced by a small network."""

    peft_type = "PREFIX_TUNING"
    keeps_prefix = True

    def count_virtual_positions(self, model: Module) -> int:
        return 0  # a prefix is read as keys and values in attention, and has no positions in the output

    def has_network(self, config: RunConfig) -> bool:
        return config.method.encoder_size is not None

    def name_stacks(self, model: Module) -> dict[str, Any]:
        # peft puts the prefix before what the decoder has written, and leaves its view of the source alone
        return {"num_transformer_submodules": 2}

    def make_settings(self, model: Module, config: RunConfig, peft_type: str) -> Any:
        from peft import PrefixTuningConfig

        common = self.name_common(model, config, peft_type)
        if peft_type != WRITING:
            common |= _find_key_shape(model)
        return PrefixTuningConfig(
            prefix_projection=self.has_network(config),
            encoder_hidden_size=config.method.encoder_size,
            **common,
        )


class PTuningV2(PTuningV2Numbers, Prefix):
    """Prefix tuning that begins at random, as the paper's own code does (arXiv 2110.07602)."""

    def begins_as_words(self, config: RunConfig) -> bool:
        return False


def has_two_stacks(model: Any) -> bool:
    """Return whether a model has an encoder and a decoder."""
    return bool(getattr(model.config, "is_encoder_decoder", False))


def _find_width(model: Module) -> int:
    """Return the width of the embeddings, which is that of the virtual tokens."""
    return int(model.get_input_embeddings().weight.shape[1])


def _find_key_shape(model: Module) -> dict[str, Any]:
    """Return the number of key heads and the total width of the keys of a layer, the parts of a prefix."""
    shape = model.config.get_text_config()
    if has_two_stacks(model):
        heads = getattr(shape, "decoder_attention_heads", None) or shape.num_attention_heads
        width = getattr(shape, "d_kv", None) or shape.hidden_size // heads
        return {"num_attention_heads": heads, "token_dim": heads * width}
    heads = getattr(shape, "num_key_value_heads", None) or shape.num_attention_heads
    width = getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads
    return {"num_attention_heads": heads, "token_dim": heads * width}


def _choose_words(config: RunConfig, model: Module) -> Tensor:
    """Choose the words to initialise virtual tokens as, [virtual tokens] int64: a text, or frequent tokens.

    Prompts initialised as words learn better than random ones (arXiv 2104.08691, figure 3; arXiv 2101.00190,
    section 7.4).
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
                    "the text has {tokens} tokens, but there are only {count} virtual tokens.",
                    tokens=len(ids),
                    count=count,
                ),
                where="method.initial_text",
                hint=_("Shorten it, or set method.virtual_tokens to {tokens}.", tokens=max(1, len(ids))),
            )
        # A shorter text is repeated until it fills all virtual tokens
        return torch.tensor((ids * -(-count // len(ids)))[:count], device=device)
    special = set(tokenizer.all_special_ids)
    frequent = [token for token in range(min(len(tokenizer), FREQUENT)) if token not in special]
    return torch.tensor(frequent, device=device)[torch.randint(len(frequent), (count,))]


def _begin_as_words(method: Prompt, model: Module, words: Tensor) -> bool:
    """Initialise virtual tokens as the embeddings of words, or as the keys and values computed from them.

    Returns:
        Whether it succeeded. A model that reads in both directions has no keys for words alone, because it
        reads them together with the text after them; those of a decoder depend on what the encoder read.
    """
    weight = model.prompt_encoder[model.active_adapter].embedding.weight
    if not method.keeps_prefix:
        weight.copy_(model.word_embeddings(words))
        return True
    from peft import initialize_kv_prefix_from_past_key_values

    base = model.get_base_model()
    writes = str(model.active_peft_config.task_type) == WRITING
    if has_two_stacks(base):
        return False
    inner = base if writes else base.base_model
    cache = find_cache(inner(input_ids=words[None], use_cache=True))
    if cache is None and not writes:
        return False
    initialize_kv_prefix_from_past_key_values(model, past_key_values=cache)
    return True


def _join_outputs(found: Any) -> Tensor:
    """Return a model's outputs, [1, positions, numbers], or [1, 1, numbers] if it has one for each text."""
    import torch

    if hasattr(found, "start_logits"):
        return torch.stack([found.start_logits, found.end_logits], dim=-1)
    return found.logits if found.logits.dim() == 3 else found.logits[:, None]


def _check_reading(method: Prompt, model: Module, words: Tensor | None) -> None:
    """Raise `ConfigError` unless words as virtual tokens are read as words, and gradients reach them."""
    import torch

    kind = method.name
    # RWKV: peft would put the virtual tokens before each token of an answer again
    if "state" in inspect.signature(model.get_base_model().forward).parameters:
        raise _refuse_model(kind, _("it carries a state from token to token"))
    device = model.get_input_embeddings().weight.device
    special = {getattr(model.config, name, None) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    usual = [token for token in range(1, _PROBE + 8) if token not in special]
    text = torch.tensor([usual[:_PROBE]], device=device)
    task = str(model.active_peft_config.task_type)
    whole_text = task == "SEQ_CLS"
    positions = 1 if whole_text else _PROBE
    # The forward of a classifier does not accept `use_cache`
    options: dict[str, Any] = {"use_cache": False} if task == WRITING else {}
    virtual = method.count_virtual_positions(model)
    if has_two_stacks(model):
        # What precedes the source gives no positions in what the decoder writes
        options, virtual = {"decoder_input_ids": text}, 0

    def read() -> Tensor:
        logits = _join_outputs(model(input_ids=text, attention_mask=torch.ones_like(text), **options))
        if logits.shape[1] != positions + (0 if whole_text else virtual):
            raise _refuse_model(
                kind,
                _("it returned {count} positions for {asked} tokens", count=logits.shape[1], asked=_PROBE),
            )
        return logits[:, -positions:].float()

    if words is not None:
        with torch.no_grad():
            whole = torch.cat([words[None], text], dim=1)
            truth = _join_outputs(model.get_base_model()(input_ids=whole, **options))[:, -positions:].float()
            apart = float((read() - truth).square().mean().sqrt() / truth.std())
        if not apart < (1e-3 if model.dtype == torch.float32 else 0.1):
            raise _refuse_model(
                kind, _("virtual tokens are not read like words; they differ by {apart:.2g}", apart=apart)
            )
    trained = [one for one in model.prompt_encoder.parameters() if one.requires_grad]
    with _move_away(model.prompt_encoder[model.active_adapter].embedding.weight):
        gradients = torch.autograd.grad(read().square().sum(), trained, allow_unused=True)
    if not any(one is not None and bool((one != 0).any()) for one in gradients):
        raise _refuse_model(kind, _("no gradient reaches the virtual tokens"))


def _refuse_model(kind: str, why: str) -> ConfigError:
    return ConfigError(
        _(
            "{method} does not work with this model: {why}.",
            method=_(KINDS[kind].label).lower(),
            why=one_line(why, 300).rstrip("."),
        ),
        where="method.kind",
        hint=_("Use lora, or prompt_tuning.") if KINDS[kind].has_trait(Trait.PREFIX) else _("Use lora."),
    )


@contextmanager
def _move_away(weight: Tensor) -> Iterator[None]:
    """Change a weight slightly while this context is open, as a training step would."""
    # Some models recognise embeddings that are exactly those of certain words, and treat them differently
    import torch

    before = weight.detach().clone()
    with torch.no_grad():
        weight.mul_(1.01)
    try:
        yield
    finally:
        with torch.no_grad():
            weight.copy_(before)


METHODS = (
    Prompt("prompt_tuning"),
    PTuning("p_tuning"),
    Prefix("prefix_tuning"),
    PTuningV2("p_tuning_v2"),
)
