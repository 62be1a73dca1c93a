"""Length, batch, passes, learning rate and evaluation, set from the counts of the rows."""

from __future__ import annotations

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.guiding.proposing import rules
from tui_tuner.guiding.proposing.draft import Draft
from tui_tuner.guiding.proposing.token_counts import Tokens
from tui_tuner.locales import _
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.data_facts import count_optimizer_steps
from tui_tuner.planning.duration import count_run_steps
from tui_tuner.planning.learning_rate import apply_rate_rules as rate_rules
from tui_tuner.planning.plan import Plan

WIDE = 2000  # hidden size from which LoRA's usual rate holds (it was measured on models of 7B and larger)
SAMPLES = 4
MOST_TEXT_HELD = 0.4


def settle_length(draft: Draft, tokens: Tokens, most: int) -> None:
    """Set `data.max_length` from lengths that were counted with `most` as the limit."""
    kind = draft.build_config_so_far().task_kind
    lengths = tokens.lengths
    if not lengths:
        return
    longest, mean = max(lengths), sum(lengths) / len(lengths)
    if kind.plain_text:
        total = sum(lengths)
        # Longer pieces teach longer dependencies, but little text would make too few of them
        length = min(most, rules.LONG_TEXT_LENGTH if total > rules.MUCH_TEXT else rules.TEXT_LENGTH)
        # The texts are documents that are all shorter than a piece
        if longest < rules.TEXT_LENGTH:
            length = rules.choose_max_length(lengths, most)
        why = _(
            "{tokens:,} tokens of text, in pieces of at most this length: enough pieces to hold some out.",
            tokens=total,
        )
    else:
        length = rules.choose_max_length(lengths, most)
        over = sum(one > length for one in lengths)
        said = {"longest": longest, "mean": mean, "over": over, "rows": len(lengths)}
        if over:
            why = _(
                "Rows have {mean:.0f} tokens on average; {over:,} of {rows:,} are longer than this; the "
                "longest has {longest:,}.",
                **said,
            )
        elif longest >= most:
            why = _("The longest row has at least {longest:,} tokens, and the model reads no more.", **said)
        else:
            why = _("The longest row has {longest:,} tokens; the mean is {mean:.0f}.", **said)
    draft.set_field(*draft.build_config_so_far().limit_sequences(length), why)
    reads, stride = "data.stride" in kind.reads, draft.build_config_so_far().data.stride
    if reads and stride * 2 > length:
        shared = max(1, length // 3)
        draft.set_field(
            "data.stride", shared, _("A third of the length, as is usual for texts that are longer.")
        )
    # A text keeps its class without its end; an answer or a tag may be in the part that is cut
    if not kind.plain_text and kind.decides == "text" and any(one >= most for one in lengths):
        draft.set_field("data.overlong", "truncate", _("Texts longer than the model's limit lose their end."))


def settle_sides(draft: Draft, tokens: Tokens, most: int) -> None:
    """Set `data.max_source` and `data.max_target` from lengths that were counted with `most` as the limit."""
    for path, lengths, step in (
        ("data.max_source", tokens.sources, rules.STEPS_OF_LENGTH),
        ("data.max_target", tokens.targets, rules.STEPS_OF_TARGET),
    ):
        if not lengths:
            continue
        length = rules.choose_max_length(lengths, most, step)
        over = sum(one > length for one in lengths)
        said = {"longest": max(lengths), "mean": sum(lengths) / len(lengths), "rows": len(lengths)}
        if over:
            why = _(
                "{mean:.0f} tokens on average; {over:,} of {rows:,} rows are longer there and are cut; the "
                "longest has {longest:,}.",
                over=over,
                **said,
            )
        else:
            why = _("The longest has {longest:,} tokens; the mean is {mean:.0f}.", **said)
        draft.set_field(path, length, why)


def settle_held_out(draft: Draft, rows: int) -> None:
    """Set the share of rows that are held out for evaluation."""
    kind = draft.build_config_so_far().task_kind
    share = rules.choose_held_out_share(rows, kind)
    if not share:
        draft.set_field("data.validation", None, _("With a single row, nothing can be held out."))
        return
    held = max(1, round(share * rows))
    why = _(
        "{held:,} of {rows:,} rows are held out: enough to tell an improvement from chance, and no more.",
        held=held,
        rows=rows,
    )
    # Small data sets get a fifth, which is less than the rows that the rule asks for
    if held < rules.HELD_OUT_ROWS:
        why = _(
            "{held:,} of {rows:,} rows are held out, a fifth: fewer would show nothing, more would be "
            "missing in "
            "training.",
            held=held,
            rows=rows,
        )
    draft.set_field("data.validation", share, why)


def hold_out_more(draft: Draft, tokens: Tokens) -> bool:
    """Hold out more plain text where long documents leave too few pieces; return whether it changed.

    Whole documents are held out, so a share of the text may come to very few of its pieces.
    """
    share, held = draft.build_config_so_far().data.validation, tokens.facts.validation_rows
    if draft.has_own("data.validation") or not isinstance(share, float) or share >= MOST_TEXT_HELD:
        return False
    # Three quarters of what is wanted are close enough: a larger share costs text to train on
    if held >= min(rules.HELD_OUT_ROWS, (tokens.facts.rows + held) / 5) * 0.75:
        return False
    more = min(MOST_TEXT_HELD, float(f"{share * 1.4 + 0.01:.2g}"))
    why = _("Whole documents are held out, and they are long: a smaller share would show too little.")
    draft.set_field("data.validation", more, why)
    return True


def settle_steps(draft: Draft, rows: int) -> None:
    """Set batch size, epochs and warm-up for so many training rows, where they are not set yet."""
    kind = draft.build_config_so_far().task_kind
    batch = rules.choose_batch_size(rows, kind)
    epochs = rules.choose_epochs(rows, kind, batch)
    steps = count_optimizer_steps(rows, batch, epochs)
    if batch == rules.MOST_BATCH:
        why = _("The usual size; {rows:,} rows make {steps:,} steps.", rows=rows, steps=steps)
    else:
        why = _(
            "{rows:,} rows make {steps:,} steps; with {most} rows per step there would be only {fewer:,}.",
            rows=rows,
            steps=steps,
            most=rules.MOST_BATCH,
            fewer=count_optimizer_steps(rows, rules.MOST_BATCH, epochs),
        )
    draft.settle_field("training.batch_size", batch, why)
    rule = rules.find_epochs_rule(kind)
    why = _("For {rows:,} rows. {rule} ({source})", rows=rows, rule=_(rule.says), source=rule.source)
    draft.settle_field("training.epochs", float(epochs), why)
    warmup = rules.choose_warmup(kind)
    draft.settle_field(
        "training.warmup",
        warmup,
        _("{rule} ({source})", rule=_(rules.RULES["warmup"].says), source=rules.RULES["warmup"].source),
    )


def settle_rate(draft: Draft, facts: ModelFacts, found: Plan) -> None:
    """Set the learning rate: the usual one of the method, or for narrow models the one for their width."""
    if "training.learning_rate" in draft.settings:
        return
    config = draft.build_config_so_far()
    why = found.rate.why
    if config.method.has_trait(Trait.RANKED) and facts.hidden < WIDE and not config.task_kind.decides:
        # A rate that rises as the width falls: narrow models learn far too slowly with the usual one
        by_width = next(
            (rule for rule in rate_rules(config, facts) if rule.name == "width of the model"), None
        )
        if by_width is not None and by_width.rate is not None:
            rate = float(f"{by_width.rate:.1g}")
            said = _(
                "{formula} for a model with a hidden size of {hidden} ({source}); the usual {usual:g} was "
                "found "
                "on much wider models.",
                formula=by_width.formula,
                hidden=facts.hidden,
                source=by_width.source,
                usual=found.rate.value,
            )
            draft.set_field("training.learning_rate", rate, said)
            return
    # `set_field` takes the user's own rate, whatever value is passed here
    if draft.has_own("training.learning_rate"):
        draft.set_field("training.learning_rate", None, "")
    draft.show_default("training.learning_rate", found.rate.value, why)


def settle_evaluation(draft: Draft, tokens: Tokens) -> None:
    """Set how often a run evaluates, how many samples it shows, and early stopping."""
    config = draft.build_config_so_far()
    kind, held = config.task_kind, tokens.facts.validation_rows
    steps = count_run_steps(config, tokens.facts.rows)
    # Without held-out rows there is nothing to evaluate
    if config.data.validation is None:
        return
    draft.show_default(
        "evaluation.every",
        max(1, round(steps / 10)),
        _("About 10 times in {steps:,} steps, so that the curve has enough points.", steps=steps),
    )
    samples = min(SAMPLES, held)
    draft.set_field(
        "evaluation.samples",
        samples,
        _("Answers to held-out rows before, during and after training, for you to read."),
    )
    if kind.writes:
        longest = tokens.facts.most_trained[0] if tokens.facts.most_trained else 0
        if kind.plain_text or not longest:
            most = 60
            why = _("Enough to see how it continues a text.")
        else:
            # Room for the longest answer, rounded up to 16; at most 200 tokens, as generating is slow
            most = min(200, max(16, -(-longest // 16) * 16))
            why = _("The longest answer has {longest:,} tokens.", longest=longest)
        draft.set_field("evaluation.max_new_tokens", most, why)
    if rules.should_stop_early(tokens.facts.rows, config.training.epochs, held, kind):
        why = _(
            "{rows:,} rows read {epochs:g} times may be memorised: the run stops after {patience} "
            "evaluations without improvement, and the best checkpoint is kept.",
            rows=tokens.facts.rows,
            epochs=config.training.epochs,
            patience=rules.PATIENCE,
        )
        draft.set_field("evaluation.early_stopping", rules.PATIENCE, why)
