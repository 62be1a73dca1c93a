"""Passes, steps, rate, evaluation: what follows from the counts of the rows."""

from __future__ import annotations

from tui_tuner.config.kinds import RANKED
from tui_tuner.guiding.proposing import rules
from tui_tuner.guiding.proposing.draft import Draft
from tui_tuner.guiding.proposing.rows import Tokens
from tui_tuner.locales import _
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.data_facts import steps_of
from tui_tuner.planning.duration import steps_in
from tui_tuner.planning.learning_rate import rules as rate_rules
from tui_tuner.planning.plan import Plan

WIDE = 2000  # hidden size from which LoRA's customary rate holds (it was measured on 7B and larger)
SAMPLES = 4
MOST_TEXT_HELD = 0.4


def settle_length(draft: Draft, tokens: Tokens, most: int) -> None:
    """The longest sequence, for lengths that were counted where `most` was allowed."""
    kind = draft.config().task_kind
    lengths = tokens.lengths
    if not lengths:
        return
    longest, mean = max(lengths), sum(lengths) / len(lengths)
    if kind.plain_text:
        total = sum(lengths)
        length = min(most, rules.LONG_TEXT_LENGTH if total > rules.MUCH_TEXT else rules.TEXT_LENGTH)
        if longest < rules.TEXT_LENGTH:  # documents, each of which is shorter
            length = rules.length_of(lengths, most)
        why = _(
            "{tokens:,} tokens of text, in pieces of at most so many: enough of them to hold some out.",
            tokens=total,
        )
    else:
        length = rules.length_of(lengths, most)
        over = sum(one > length for one in lengths)
        said = {"longest": longest, "mean": mean, "over": over, "rows": len(lengths)}
        if over:
            why = _(
                "Rows have {mean:.0f} tokens on average; {over:,} of {rows:,} are longer than this, the "
                "longest has {longest:,}.",
                **said,
            )
        elif longest >= most:
            why = _("The longest row has {longest:,} tokens or more, and the model reads no more.", **said)
        else:
            why = _("The longest row has {longest:,} tokens, and the mean is {mean:.0f}.", **said)
    draft.set("data.max_length", length, why)
    reads, stride = "data.stride" in kind.reads, draft.config().data.stride
    if reads and stride * 2 > length:
        shared = max(1, length // 3)
        draft.set("data.stride", shared, _("A third of the length, for texts that are longer: customary."))
    if not kind.plain_text and kind.decides == "text" and any(one >= most for one in lengths):
        draft.set("data.overlong", "truncate", _("Texts beyond what the model reads lose their end."))


def settle_held_out(draft: Draft, rows: int) -> None:
    """The rows that judge."""
    kind = draft.config().task_kind
    share = rules.held_out_of(rows, kind)
    if not share:
        draft.set("data.validation", None, _("Of a single row, nothing can be held out."))
        return
    held = max(1, round(share * rows))
    why = _(
        "{held:,} of {rows:,} are held out: enough to tell better from chance, and not more than needed.",
        held=held,
        rows=rows,
    )
    if held < rules.HELD_OUT_ROWS:
        why = _(
            "{held:,} of {rows:,} are held out, a fifth: fewer would tell nothing, more would be missed in "
            "training.",
            held=held,
            rows=rows,
        )
    draft.set("data.validation", share, why)


def hold_more(draft: Draft, tokens: Tokens) -> bool:
    """Hold out more of plain text whose documents are so long that the share came to few pieces.

    Whether there was more to hold out.
    """
    share, held = draft.config().data.validation, tokens.facts.validation_rows
    if draft.own("data.validation") or not isinstance(share, float) or share >= MOST_TEXT_HELD:
        return False
    if held >= min(rules.HELD_OUT_ROWS, (tokens.facts.rows + held) / 5) * 0.75:
        return False
    more = min(MOST_TEXT_HELD, float(f"{share * 1.4 + 0.01:.2g}"))
    why = _("Whole documents are held out, and they are long: a smaller share would tell too little.")
    draft.set("data.validation", more, why)
    return True


def settle_steps(draft: Draft, rows: int) -> None:
    """Batch, passes and warm-up for so many rows of training, where nothing better is known."""
    kind = draft.config().task_kind
    batch = rules.batch_of(rows, kind)
    epochs = rules.epochs_of(rows, kind, batch)
    steps = steps_of(rows, batch, epochs)
    if batch == rules.MOST_BATCH:
        why = _("Customary, and {rows:,} rows make {steps:,} steps of it.", rows=rows, steps=steps)
    else:
        why = _(
            "{rows:,} rows make {steps:,} steps of it; of {most} rows a step, there would be {fewer:,}.",
            rows=rows,
            steps=steps,
            most=rules.MOST_BATCH,
            fewer=steps_of(rows, rules.MOST_BATCH, epochs),
        )
    draft.settle("training.batch_size", batch, why)
    rule = rules.epochs_rule(kind)
    why = _("For {rows:,} rows. {rule} ({source})", rows=rows, rule=_(rule.says), source=rule.source)
    draft.settle("training.epochs", float(epochs), why)
    warmup = rules.warmup_of(kind)
    draft.settle(
        "training.warmup",
        warmup,
        _("{rule} ({source})", rule=_(rules.RULES["warmup"].says), source=rules.RULES["warmup"].source),
    )


def settle_rate(draft: Draft, facts: ModelFacts, found: Plan) -> None:
    """The learning rate: that of the method, or for narrow models that of their width."""
    if "training.learning_rate" in draft.settings:
        return
    config = draft.config()
    why = found.rate.why
    if config.method.kind in RANKED and facts.hidden < WIDE and not config.task_kind.decides:
        by_width = next(
            (rule for rule in rate_rules(config, facts) if rule.name == "width of the model"), None
        )
        if by_width is not None and by_width.rate is not None:
            rate = float(f"{by_width.rate:.1g}")
            said = _(
                "{formula} for a model that is {hidden} wide ({source}); the customary {usual:g} was found "
                "on models far wider.",
                formula=by_width.formula,
                hidden=facts.hidden,
                source=by_width.source,
                usual=found.rate.value,
            )
            draft.set("training.learning_rate", rate, said)
            return
    if draft.own("training.learning_rate"):
        draft.set("training.learning_rate", None, "")
    draft.tell("training.learning_rate", found.rate.value, why)


def settle_evaluation(draft: Draft, tokens: Tokens) -> None:
    """How often it is measured, what is shown, and when it stops by itself."""
    config = draft.config()
    kind, held = config.task_kind, tokens.facts.validation_rows
    steps = steps_in(config, tokens.facts.rows)
    if config.data.validation is None:
        return
    draft.tell(
        "evaluation.every",
        max(1, round(steps / 10)),
        _("About 10 times in {steps:,} steps: a curve that can be judged.", steps=steps),
    )
    samples = min(SAMPLES, held)
    draft.set(
        "evaluation.samples",
        samples,
        _("Answers to held-out rows before, during and after, to be read with your own eyes."),
    )
    if kind.writes:
        longest = tokens.facts.most_trained[0] if tokens.facts.most_trained else 0
        if kind.plain_text or not longest:
            most = 60
            why = _("Enough to see how it goes on.")
        else:
            most = min(200, max(16, -(-longest // 16) * 16))
            why = _("The longest answer has {longest:,} tokens.", longest=longest)
        draft.set("evaluation.max_new_tokens", most, why)
    if rules.stops_early(tokens.facts.rows, config.training.epochs, held, kind):
        why = _(
            "{rows:,} rows read {epochs:g} times may be learnt by heart: it stops after {patience} "
            "evaluations without a better one, and the best is kept.",
            rows=tokens.facts.rows,
            epochs=config.training.epochs,
            patience=rules.PATIENCE,
        )
        draft.set("evaluation.early_stopping", rules.PATIENCE, why)
