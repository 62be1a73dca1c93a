"""Refuse models that cannot guess hidden tokens, before anything is read or loaded."""

from __future__ import annotations

from typing import Any

from tui_tuner.config.advice import build_hint, write_setting
from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.masking.word_numbers import WordTokenizer
from tui_tuner.errors import ConfigError, ModelError, TunerError
from tui_tuner.locales import N_, _
from tui_tuner.models.facts import load_facts
from tui_tuner.models.new_weights import list_head_modules, list_random_weights
from tui_tuner.text import one_line

OTHER_WAY = N_(
    "Take an encoder such as distilbert-base-uncased or roberta-base, or let this model predict the next "
    "token with {command}.",
    command=write_setting({"task": "pretraining"}),
)


def check_masking(config: RunConfig, tokenizer: Any) -> None:
    """Check that a model and its tokenizer can be trained to guess hidden tokens.

    Raises:
        ModelError: there is no mask token, or the architecture has no head for it.
        ConfigError: whole words are asked for, and the tokenizer does not tell words apart.
    """
    if tokenizer.mask_token_id is None:
        raise ModelError(
            _("the tokenizer has no mask token, so no token can be hidden."),
            where=one_line(config.model.tokenizer or config.model.name),
            hint=build_hint(OTHER_WAY),
            field="model.tokenizer" if config.model.tokenizer else "model.name",
        )
    kind = find_headless_kind(config)
    if kind:
        raise ModelError(
            _("{model_type} has no head that guesses hidden tokens.", model_type=one_line(kind, 60)),
            where=one_line(config.model.name),
            hint=build_hint(OTHER_WAY),
            field="model.name" if config.model.architecture is None else "model.architecture",
        )
    if config.data.masking.whole_words and not WordTokenizer(tokenizer).knows_words:
        raise ConfigError(
            _("this tokenizer does not tell which tokens are one word."),
            where="data.masking.whole_words",
            field="data.masking.whole_words",
            hint=build_hint(
                N_(
                    "Choose single tokens with {command}, or take a tokenizer with a tokenizer.json.",
                    command=write_setting({"data.masking.whole_words": False}),
                )
            ),
        )


def check_head_weights(config: RunConfig, model: Any) -> None:
    """Check that a loaded model's head is trained, or can be.

    Raises:
        ModelError: it has random weights, and the method leaves it as it is.
    """
    heads = set(list_head_modules(model))
    random = [name for name in list_random_weights(model) if name.partition(".")[0] in heads]
    if random and config.method.has_trait(Trait.ADAPTER):
        raise ModelError(
            _(
                "its files have no head that guesses hidden tokens ({names}), and {method} would leave a new "
                "one with random weights.",
                names=one_line(", ".join(random[:2]), 100),
                method=config.method.kind,
            ),
            where=one_line(config.model.name),
            field="method.kind",
            hint=build_hint(
                N_(
                    "Train the head too with {command}, or take a model that has learned to guess.",
                    command=write_setting({"method.kind": "full"}),
                )
            ),
        )


def find_headless_kind(config: RunConfig) -> str:
    """Return the `model_type` of a model that cannot guess hidden tokens; empty if it may be able to."""
    try:
        facts = load_facts(config.model, network=False)
    # Loading reports what is wrong with the model.
    except (TunerError, ImportError, OSError):
        return ""
    return facts.model_type if facts.verified and not facts.encoder else ""
