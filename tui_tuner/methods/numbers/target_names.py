"""Which matrices of a layer get an adapter, from `method.targets` and a model's shapes."""

from __future__ import annotations

import re
from functools import lru_cache

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.sections.method import MethodSection
from tui_tuner.config.sections.name_patterns import EXPERTS, explain_regex, is_expert_target, is_plain_name
from tui_tuner.models.architectures.family import Linear
from tui_tuner.models.facts import ModelFacts

ALL = "all-linear"
# The weights in which transformers 5 fuses the matrices of experts, which are counted one by one here
FUSED = {
    **dict.fromkeys(("gate_proj", "up_proj", "w1", "w3"), "gate_up_proj"),
    **dict.fromkeys(("down_proj", "w2"), "down_proj"),
}
SECONDS = ("up_proj", "w3")  # the other half of a fused weight, which shares the first half's matrix A
# Mixtures of which peft takes these names for the fused experts, although dense layers and shared experts
# have them too (`peft/utils/transformers_weight_conversion.py`)
_TAKEN = ("qwen3_moe", "olmoe", "deepseek_v2", "deepseek_v3")
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
    asked = frozenset([targets] if isinstance(targets, str) else targets)
    return _leave_taken(asked, section, facts)


def _leave_taken(names: frozenset[str], section: MethodSection, facts: ModelFacts) -> frozenset[str]:
    """Return the names without those of a mixture that peft would take for its experts."""
    if ALL not in names or not section.has_trait(Trait.FUSED_NAMES) or facts.model_type not in _TAKEN:
        return names
    if not (facts.dense_places or facts.shared_ffn):
        return names  # nothing else has such names
    attention = {linear.name for linear in facts.layer_linears if linear.group == "attention"}
    return names - {ALL} | attention


def list_fused_names(facts: ModelFacts) -> list[str]:
    """Return how `method.targets` may name fused weights of a model's experts, next to `experts`."""
    if not facts.has_experts:
        return []
    return list(dict.fromkeys(f"{EXPERTS}.{FUSED[name]}" for name in facts.family.mlp if name in FUSED))


def takes_expert(linear: Linear, targets: frozenset[str]) -> bool:
    """Return whether targets stand for the fused weight that a matrix of the experts is a part of."""
    weight = FUSED.get(linear.name, linear.name)
    return EXPERTS in targets or any(
        name.rpartition(".")[2] == weight for name in targets if is_expert_target(name)
    )


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
