"""Traps in what is trained, and with which numbers."""

from __future__ import annotations

from pathlib import Path

from tui_tuner.config.applying import FIELD, METHOD, TASK, unread_said
from tui_tuner.config.kinds import METHOD_FIELDS, RANKED
from tui_tuner.config.options import options
from tui_tuner.config.schema import ADAPTERS, MethodSection
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.models.facts import ModelFacts
from tui_tuner.models.loading import tokenizer_source
from tui_tuner.models.vocabulary import stored_beyond
from tui_tuner.planning.learning_rate import usual_rate
from tui_tuner.planning.traps.findings import Advice, Case, found, trap
from tui_tuner.text import listed, one_line

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
    )
)
SMALL, SMALL_TAKES = 30_000_000, 10  # parameters below which a model bears rates so much higher


@trap
def unread_fields(case: Case) -> Advice | None:
    return _unread(case, METHOD)


@trap
def unread_by_task(case: Case) -> Advice | None:
    return _unread(case, TASK)


@trap
def unread_beside(case: Case) -> Advice | None:
    return _unread(case, FIELD)


def _unread(case: Case, by: str) -> Advice | None:
    """That fields are set and have no effect, with this task, this method, or other fields as they are."""
    for one in unread_said(case.config):
        if one.by == by:
            return found(one.said, one.reason, {path: options()[path].default for path in one.fields})
    return None


@trap
def lora_scale(case: Case) -> Advice | None:
    method = case.config.method
    scale = method.alpha / method.rank
    if method.kind not in RANKED or method.kind == "rslora" or 0.25 <= scale <= 4:
        return None
    return found(
        _("alpha / rank is {scale:g}.", scale=scale),
        _(
            "The update is scaled by it, usually by 1 to 2; far from there the learning rate no longer means "
            "what it usually does."
        ),
        {"method.alpha": float(2 * method.rank)},
    )


@trap
def rslora_scale(case: Case) -> Advice | None:
    method = case.config.method
    if method.kind != "rslora" or method.alpha <= 2 * method.rank:
        return None
    return found(
        _(
            "rsLoRA with alpha {alpha:g} scales by {scale:.1f}.",
            alpha=method.alpha,
            scale=method.alpha / method.rank**0.5,
        ),
        _("It divides by the square root of the rank, so alpha near the rank is plenty."),
        {"method.alpha": float(method.rank)},
    )


@trap
def high_rank(case: Case) -> Advice | None:
    method = case.config.method
    if method.kind not in RANKED or method.rank <= 256:
        return None
    return found(
        _("rank {rank} trains nearly as much as full fine-tuning.", rank=method.rank),
        _("Above 256 the adapter costs memory and speed without the simplicity of full fine-tuning."),
        {"method.rank": 64},
    )


def unknown_targets(method: MethodSection, facts: ModelFacts) -> tuple[list[str], set[str]]:
    """Names in `method.targets` that no linear layer of the model has, and those that there are."""
    known = {linear.name.split(".")[-1] for linear in facts.linears}
    if "targets" not in METHOD_FIELDS[method.kind] or not facts.verified or facts.moe:
        return [], known
    asked = [method.targets] if isinstance(method.targets, str) else method.targets
    return [
        name for name in asked if name != "all-linear" and name.isidentifier() and name not in known
    ], known


@trap
def no_such_target(case: Case) -> Advice | None:
    facts = case.facts
    if facts is None:
        return None
    wrong, known = unknown_targets(case.config.method, facts)
    if not wrong:
        return None
    return found(
        _(
            "{model_type} has no layer called {wrong}.",
            model_type=facts.model_type,
            wrong=one_line(", ".join(wrong), 80),
        ),
        _("Nothing there would be trained. It has {known}.", known=", ".join(sorted(known))),
        {"method.targets": "all-linear"},
        serious=True,
    )


@trap
def more_layers_than_there_are(case: Case) -> Advice | None:
    method, facts = case.config.method, case.facts
    layers = method.layers
    if not layers or "layers" not in METHOD_FIELDS[method.kind] or facts is None or layers <= facts.layers:
        return None
    text = _(
        "method.layers is {asked}, and the model has {layers}.",
        asked=layers,
        layers=facts.layers,
    )
    return found(text, _("A run does not begin so."), {"method.layers": facts.layers}, serious=True)


@trap
def float16(case: Case) -> Advice | None:
    facts = case.facts
    if case.config.model.dtype != "float16" or facts is None:
        return None
    if facts.weights_dtype != "bfloat16" and (facts.weights_dtype or facts.model_type not in BFLOAT16):
        return None
    return found(
        _("float16 for a model that was trained in bfloat16."),
        _("Its activations can exceed 65,504, the largest float16, and become infinite."),
        {"model.dtype": "bfloat16"},
        serious=True,
    )


@trap
def float16_weights(case: Case) -> Advice | None:
    if case.config.model.dtype != "float16" or case.config.method.kind in ADAPTERS:
        return None
    return found(
        _("float16 weights are trained themselves."),
        _("Small updates vanish and gradients underflow; mixed precision over float32 weights does not."),
        {"model.dtype": "float32"},
        serious=True,
    )


@trap
def bfloat16_weights(case: Case) -> Advice | None:
    if case.config.model.dtype != "bfloat16" or case.config.method.kind in ADAPTERS:
        return None
    return found(
        _("bfloat16 weights are trained themselves."),
        _("Updates below 1/256 of a weight are rounded away; float32 keeps them, at twice the memory."),
        {"model.dtype": "float32"},
    )


@trap
def learning_rate(case: Case) -> Advice | None:
    rate = case.config.training.learning_rate
    usual = usual_rate(case.config, case.facts)
    small = case.facts is not None and case.facts.parameters < SMALL
    highest = 4 * usual.high * (SMALL_TAKES if small else 1)
    if not isinstance(rate, float) or usual.low / 2 <= rate <= highest:
        return None
    above, kind = rate > usual.high, case.config.method.kind
    if above:
        text = _("learning rate {rate:g} is far above what is usual for {kind}.", rate=rate, kind=kind)
    else:
        text = _("learning rate {rate:g} is far below what is usual for {kind}.", rate=rate, kind=kind)
    return found(
        text,
        _("Usual is {low:g} to {high:g} ({source}).", low=usual.low, high=usual.high, source=_(usual.source)),
        {"training.learning_rate": usual.rate},
        serious=above,
    )


@trap
def weight_decay(case: Case) -> Advice | None:
    decay = case.config.training.weight_decay
    if decay <= 0.3:
        return None
    reason = _(
        "Each step then pulls the weights to zero harder than most data pulls back; 0 to 0.1 is usual."
    )
    return found(_("weight decay {decay:g} is high.", decay=decay), reason, {"training.weight_decay": 0.01})


@trap
def tokens_beyond(case: Case) -> Advice | None:
    """Tokens that were added to a tokenizer, and have no row in the model's embeddings."""
    model = case.config.model
    if case.facts is None or model.architecture is not None or model.tokenizer == "train":
        return None
    try:
        source = tokenizer_source(model)
    except TunerError:
        return None  # said when it is loaded
    names = stored_beyond(Path(source), case.facts.vocab) if Path(source).is_dir() else []
    if not names:
        return None
    return found(
        _(
            "The tokenizer has added tokens that the model has no embedding for: {tokens}.",
            tokens=listed([one_line(name, 40) for name in names[:5]]),
        ),
        _(
            "Rows that hold one are refused. model.resize_token_embeddings of transformers makes room, and "
            "method.train_embeddings trains what is put there."
        ),
    )
