"""Traps in the method, the number formats and the hyperparameters."""

from __future__ import annotations

from pathlib import Path

from tui_tuner.config.applying import FIELD, METHOD, TASK, describe_unread_fields
from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.options import list_options
from tui_tuner.config.schema import MethodSection
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.methods import find_method
from tui_tuner.models.facts import ModelFacts
from tui_tuner.models.loading import find_tokenizer_source
from tui_tuner.models.vocabulary import find_stored_tokens_beyond
from tui_tuner.planning.learning_rate import find_model_rate
from tui_tuner.planning.traps.findings import Advice, Case, make_trap_finding, register_trap
from tui_tuner.text import join_sentence_items, one_line

# Architectures whose published models were trained in bfloat16, where config.json does not say
BFLOAT16 = frozenset(
    (
        "mistral",
        "mixtral",
        "qwen2",
        "qwen2_moe",
        "qwen3",
        "qwen3_moe",
        "gemma",
        "gemma2",
        "gemma3_text",
        "phi3",
        "t5",
        "mt5",
        "umt5",
    )
)
SMALL, SMALL_TAKES = 30_000_000, 10  # below so many parameters, rates this many times higher are fine


@register_trap
def unread_fields(case: Case) -> Advice | None:
    return _find_unread(case, METHOD)


@register_trap
def unread_by_task(case: Case) -> Advice | None:
    return _find_unread(case, TASK)


@register_trap
def unread_beside(case: Case) -> Advice | None:
    return _find_unread(case, FIELD)


def _find_unread(case: Case, by: str) -> Advice | None:
    """Find fields that are set without effect, because of the task, the method, or other fields."""
    for one in describe_unread_fields(case.config):
        if one.by == by:
            return make_trap_finding(
                one.said, one.reason, {path: list_options()[path].default for path in one.fields}
            )
    return None


@register_trap
def lora_scale(case: Case) -> Advice | None:
    method = case.config.method
    scale = method.alpha / method.rank
    # rsLoRA divides by sqrt(rank) and has a trap of its own, below
    if not method.has_trait(Trait.RANKED) or find_method(method.kind).stabilised or 0.25 <= scale <= 4:
        return None
    return make_trap_finding(
        _("alpha / rank is {scale:g}.", scale=scale),
        _(
            "The update is multiplied by it, usually by 1 to 2; far outside that range the "
            "usual learning rates do not apply."
        ),
        {"method.alpha": float(2 * method.rank)},
    )


@register_trap
def rslora_scale(case: Case) -> Advice | None:
    method = case.config.method
    if not find_method(method.kind).stabilised or method.alpha <= 2 * method.rank:
        return None
    return make_trap_finding(
        _(
            "rsLoRA with alpha {alpha:g} scales by {scale:.1f}.",
            alpha=method.alpha,
            scale=method.alpha / method.rank**0.5,
        ),
        _("It divides by the square root of the rank, so an alpha near the rank is enough."),
        {"method.alpha": float(method.rank)},
    )


@register_trap
def high_rank(case: Case) -> Advice | None:
    method = case.config.method
    if not method.has_trait(Trait.RANKED) or method.rank <= 256:
        return None
    return make_trap_finding(
        _("rank {rank} trains nearly as much as full fine-tuning.", rank=method.rank),
        _("Above 256 the adapter costs memory and speed without the simplicity of full fine-tuning."),
        {"method.rank": 64},
    )


def unknown_targets(method: MethodSection, facts: ModelFacts) -> tuple[list[str], set[str]]:
    """Return the names in `method.targets` that no linear layer of the model has, and all valid names."""
    known = {linear.name.split(".")[-1] for linear in facts.layer_linears}
    # The table of an unverified architecture, or of experts, may lack names that the model has
    if not method.reads_field("targets") or not facts.verified or facts.has_experts:
        return [], known
    asked = [method.targets] if isinstance(method.targets, str) else method.targets
    return [
        name for name in asked if name != "all-linear" and name.isidentifier() and name not in known
    ], known


@register_trap
def no_such_target(case: Case) -> Advice | None:
    facts = case.facts
    if facts is None:
        return None
    wrong, known = unknown_targets(case.config.method, facts)
    if not wrong:
        return None
    return make_trap_finding(
        _(
            "{model_type} has no layer called {wrong}.",
            model_type=facts.model_type,
            wrong=one_line(", ".join(wrong), 80),
        ),
        _("Nothing would be trained there. Its linear layers are {known}.", known=", ".join(sorted(known))),
        {"method.targets": "all-linear"},
        serious=True,
    )


@register_trap
def more_layers_than_there_are(case: Case) -> Advice | None:
    method, facts = case.config.method, case.facts
    layers = method.layers
    if not layers or not method.reads_field("layers") or facts is None or layers <= facts.layers:
        return None
    text = _(
        "method.layers is {asked}, but the model has {layers}.",
        asked=layers,
        layers=facts.layers,
    )
    return make_trap_finding(text, _("A run would not start."), {"method.layers": facts.layers}, serious=True)


@register_trap
def float16(case: Case) -> Advice | None:
    facts = case.facts
    if case.config.model.dtype != "float16" or facts is None:
        return None
    # Trained in bfloat16, whatever dtype they were published in, and known to overflow (transformers' issues
    # 4586, 9295 and 23918; text-to-text-transfer-transformer's 539)
    if facts.source is not None and facts.family.relative:
        return make_trap_finding(
            _("float16 for a model that was trained in bfloat16."),
            _("T5's activations exceed 65,504, the largest float16, and its loss becomes NaN."),
            {"model.dtype": "bfloat16"},
            serious=True,
        )
    # Many published configs leave the dtype out, so families known to be trained in bfloat16 count too
    if facts.weights_dtype != "bfloat16" and (facts.weights_dtype or facts.model_type not in BFLOAT16):
        return None
    return make_trap_finding(
        _("float16 for a model that was trained in bfloat16."),
        _("Its activations can exceed 65,504, the largest float16, and become infinite."),
        {"model.dtype": "bfloat16"},
        serious=True,
    )


@register_trap
def float16_weights(case: Case) -> Advice | None:
    if case.config.model.dtype != "float16" or case.config.method.has_trait(Trait.ADAPTER):
        return None
    return make_trap_finding(
        _("the weights themselves are trained in float16."),
        _("Small updates vanish and gradients underflow; mixed precision over float32 weights does not."),
        {"model.dtype": "float32"},
        serious=True,
    )


@register_trap
def bfloat16_weights(case: Case) -> Advice | None:
    if case.config.model.dtype != "bfloat16" or case.config.method.has_trait(Trait.ADAPTER):
        return None
    return make_trap_finding(
        _("the weights themselves are trained in bfloat16."),
        _("Updates below 1/256 of a weight are rounded away; float32 keeps them, at twice the memory."),
        {"model.dtype": "float32"},
    )


@register_trap
def learning_rate(case: Case) -> Advice | None:
    rate = case.config.training.learning_rate
    usual = find_model_rate(case.config, case.facts)
    # Small models bear higher rates (GPT-3's table), so only rates far above are reported for them
    small = case.facts is not None and case.facts.parameters < SMALL
    highest = 4 * usual.high * (SMALL_TAKES if small else 1)
    if not isinstance(rate, float) or usual.low / 2 <= rate <= highest:
        return None
    # Too high a rate ruins a run, too low a rate only wastes time: only the first is serious
    above, kind = rate > usual.high, case.config.method.kind
    if above:
        text = _("learning rate {rate:g} is far above what is usual for {kind}.", rate=rate, kind=kind)
    else:
        text = _("learning rate {rate:g} is far below what is usual for {kind}.", rate=rate, kind=kind)
    return make_trap_finding(
        text,
        _("Usual is {low:g} to {high:g} ({source}).", low=usual.low, high=usual.high, source=_(usual.source)),
        {"training.learning_rate": usual.rate},
        serious=above,
    )


@register_trap
def weight_decay(case: Case) -> Advice | None:
    decay = case.config.training.weight_decay
    if decay <= 0.3:
        return None
    reason = _(
        "Each step then pulls the weights to zero harder than most data pulls back; 0 to 0.1 is usual."
    )
    return make_trap_finding(
        _("weight decay {decay:g} is high.", decay=decay), reason, {"training.weight_decay": 0.01}
    )


@register_trap
def tokens_beyond(case: Case) -> Advice | None:
    """Find tokens that were added to a tokenizer but have no row in the model's embeddings."""
    model = case.config.model
    if case.facts is None or model.architecture is not None or model.tokenizer == "train":
        return None
    try:
        source = find_tokenizer_source(model)
    except TunerError:
        return None  # reported when the tokenizer is loaded
    names = find_stored_tokens_beyond(Path(source), case.facts.vocab) if Path(source).is_dir() else []
    if not names:
        return None
    return make_trap_finding(
        _(
            "The tokenizer has added tokens that the model has no embedding for: {tokens}.",
            tokens=join_sentence_items([one_line(name, 40) for name in names[:5]]),
        ),
        _(
            "Rows that contain one are rejected. model.resize_token_embeddings of "
            "transformers makes room, and method.train_embeddings trains the new rows."
        ),
    )
