"""Traps of new tokens: a method that leaves them as they begin."""

from __future__ import annotations

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.sections.new_tokens import LEARN
from tui_tuner.locales import _, _n
from tui_tuner.planning.traps.findings import Advice, Case, make_trap_finding, register_trap


@register_trap
def untrained_new_tokens(case: Case) -> Advice | None:
    """Find new tokens that the method leaves as the mean of their pieces."""
    config = case.config
    if config.model.new_tokens is None or trains_new_tokens(config):
        return None
    count = count_asked_tokens(config)
    told = (
        _n("{count:,} new token stays untrained.", "{count:,} new tokens stay untrained.", count, count=count)
        if count
        else _("The new tokens stay untrained.")
    )
    reason = _(
        "{method} leaves embeddings as they are, so each new token keeps the mean of the pieces that it "
        "replaces.",
        method=config.method.kind,
    )
    if config.method.reads_field("train_embeddings"):
        return make_trap_finding(told, reason, {"model.new_tokens_train": "rows"})
    return make_trap_finding(told, reason, {"method.kind": "lora"})


def trains_new_tokens(config: RunConfig) -> bool:
    """Return whether a run trains the embeddings of its new tokens, or may do so by a pattern of names."""
    method = config.method
    if method.has_trait(Trait.WHOLE_MODEL) or (method.reads_field("pattern") and method.pattern):
        return True
    asked = config.model.new_tokens_train != "nothing" or method.train_embeddings
    return method.reads_field("train_embeddings") and asked


def count_asked_tokens(config: RunConfig) -> int:
    """Return how many tokens a config asks for, as far as it says so itself; 0 for a file."""
    asked = config.model.new_tokens
    if isinstance(asked, list):
        return len(asked)
    return int(asked.get(LEARN, 0)) if asked else 0
