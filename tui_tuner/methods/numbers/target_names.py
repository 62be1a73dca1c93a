"""Which matrices of a layer get an adapter, from `method.targets` and a model's shapes."""

from __future__ import annotations

import re
from functools import lru_cache

from tui_tuner.config.sections.method import MethodSection
from tui_tuner.config.sections.name_patterns import explain_regex, is_plain_name
from tui_tuner.models.architectures.family import Linear
from tui_tuner.models.facts import ModelFacts

ALL = "all-linear"
# Where families keep their layers, and the parts of one: a regular expression is tried on these names. Which
# layers it really takes is found on the model itself, when it is counted and when a run begins.
_STACKS = (
    *("model.layers", "transformer.h", "gpt_neox.layers", "model.decoder.layers", "transformer.layer"),
    *("bert.encoder.layer", "roberta.encoder.layer", "deberta.encoder.layer", "electra.encoder.layer"),
    *("distilbert.transformer.layer", "backbone.layers", "layers"),
)
_PARTS = (
    *("", "self_attn.", "attn.", "attention.", "attention.self.", "attention.output.", "self_attention."),
    *("mlp.", "intermediate.", "output.", "ffn.", "feed_forward.", "mlp.shared_expert."),
)


def is_pattern(targets: str | list[str]) -> bool:
    """Return whether targets are a regular expression: a text that cannot be a module's name."""
    return isinstance(targets, str) and targets != ALL and not is_plain_name(targets)


def name_targets(section: MethodSection, facts: ModelFacts) -> frozenset[str]:
    """`method.targets` as a set of names; `all-linear` for a method that does not read it.

    Of a regular expression, these are the matrices that it may take in one of the layers.
    """
    # Such a method may put something beside any layer, so none is excluded
    if not section.reads_field("targets"):
        return frozenset({ALL})
    targets = section.targets
    if isinstance(targets, str) and is_pattern(targets):
        names = tuple(sorted({one.name for one in facts.layer_linears}))
        return _match_names(targets, names, facts.layers)
    return frozenset([targets] if isinstance(targets, str) else targets)


def list_targets(section: MethodSection, facts: ModelFacts) -> list[Linear]:
    """List the matrices of a layer that get an adapter, without experts and routers, which are no layers."""
    targets = name_targets(section, facts)
    return [
        one
        for one in facts.layer_linears
        if one.group not in ("expert", "router")
        and (ALL in targets or any(f".{one.name}".endswith(f".{name}") for name in targets))
    ]


@lru_cache(maxsize=64)
def _match_names(pattern: str, names: tuple[str, ...], layers: int) -> frozenset[str]:
    if explain_regex(pattern):
        return frozenset()
    compiled = re.compile(pattern)
    numbers = sorted({0, 1, layers // 2, layers - 1})
    places = [f"{stack}.{number}.{part}" for stack in _STACKS for number in numbers for part in _PARTS]
    found = {name for name in names if any(compiled.fullmatch(f"{place}{name}") for place in places)}
    # No family here may have such names; then those that it speaks of, or any
    return frozenset(found or {name for name in names if name in pattern} or names)
