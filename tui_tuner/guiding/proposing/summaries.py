"""The summary of a proposal in sentences, and the concerns about its plan."""

from __future__ import annotations

from tui_tuner.config.kinds.tasks import TASKS
from tui_tuner.config.schema import ModelSection
from tui_tuner.guiding.goals import Goal
from tui_tuner.guiding.machine import Budget, Machine
from tui_tuner.guiding.proposal import Concern
from tui_tuner.guiding.proposing.draft import Draft
from tui_tuner.guiding.proposing.spending import Spent
from tui_tuner.guiding.proposing.token_counts import Tokens
from tui_tuner.locales import _
from tui_tuner.models.facts import ModelFacts
from tui_tuner.models.hub.local import find_complete_model
from tui_tuner.models.hub.net import is_network_offline
from tui_tuner.models.hub.place import is_model_path
from tui_tuner.planning.plan import Plan
from tui_tuner.text import format_count, format_money, format_rough_seconds, one_line

LONG = 3600.0  # seconds
WRITES_ALL = "chatml"  # a template that can write what others cannot, such as tool calls
ENOUGH = 100  # rows to try something with
FEW_HELD_OUT = 6  # with fewer paired differences, none is significant (sign test: 2 / 2^5 > 0.05)
# The proposal has a concern of its own for these, with its own figures, or has decided them
_SAID = ("few_rows", "batch_over_rows", "few_steps", "budget")
# No run can start with these: the model lacks what its task or method needs
_NEVER_BEGINS = ("writes_and_decides", "no_such_head", "no_prefix")
_TOLD = (
    "model.dtype",
    "data.packing",
    "training.optimizer",
    "training.micro_batch",
    "training.gradient_checkpointing",
)


def show_open_fields(draft: Draft, found: Plan) -> None:
    """Show what fields left at `auto` become on this machine."""
    for reason in found.resolved.reasons:
        if reason.field in _TOLD:
            draft.show_default(reason.field, reason.value, reason.why)


def add_concerns(
    draft: Draft, found: Plan, tokens: Tokens, spent: Spent, budget: Budget, machine: Machine
) -> None:
    """Add the concerns about the data, the plan, the budget and the machine."""
    if 0 < tokens.facts.validation_rows < FEW_HELD_OUT:
        draft.add_concerns(_warn_of_few_held_out(tokens.facts.validation_rows))
    if (missing := _warn_of_download(draft.build_config_so_far().model)) is not None:
        draft.add_concerns(missing)
    # The look at the data may have reported the same rows already, under its own code
    if tokens.unusable and "refused_rows" not in {one.code for one in draft.concerns}:
        draft.add_concerns(_warn_of_unusable_rows(tokens))
    for advice in found.advice:
        if advice.code not in _SAID:
            fixes = ((_("Change it"), advice.fix),) if advice.fix else ()
            stops = advice.code in _NEVER_BEGINS
            about = "model" if stops else ""
            said = _capitalise_first(advice.text)
            draft.add_concerns(
                Concern(advice.code, said, advice.reason, stops=stops, fixes=fixes, about=about)
            )
    # A user with a budget has decided how long it may take
    if not budget.is_given and spent.seconds is not None and spent.seconds[1] > LONG:
        draft.add_concerns(_warn_of_long_run(draft, tokens, spent.seconds[1]))
    if budget.is_given and spent.seconds is None:
        said = _("How long it takes is unknown until it starts: {why}.", why=spent.basis)
        draft.add_concerns(Concern("no_time", said, _("Its first steps will show it."), about="budget"))
    if not machine.is_here:
        name = machine.display_name
        said = _("It is planned for {card}, but starts on whatever GPU the machine has.", card=one_line(name))
        draft.add_concerns(
            Concern(
                "elsewhere", said, _("Copy the config to that machine and start it there."), about="machine"
            )
        )


def _warn_of_download(model: ModelSection) -> Concern | None:
    """Return a concern if the model must be downloaded first, which no estimate includes."""
    if model.architecture is not None or is_model_path(model.name):
        return None
    if find_complete_model(model.name, model.revision, model.hub) is not None:
        return None
    name = one_line(model.name, 80)
    if is_network_offline():
        return Concern(
            "not_here",
            _("{model} is not on this machine, and the network is off.", model=name),
            _("Choose a model on this machine, or allow the network."),
            about="model",
        )
    return Concern(
        "not_here",
        _(
            "{model} is not on this machine: the run downloads it first, which no time here includes.",
            model=name,
        ),
        _("Its hub must be reachable then; `tui-tuner models fetch {model}` gets it beforehand.", model=name),
        about="model",
    )


def _warn_of_long_run(draft: Draft, tokens: Tokens, seconds: float) -> Concern:
    """Warn that the run takes long, and offer a number of rows that would take half an hour."""
    # Time is nearly proportional to the rows, and half an hour is acceptable for a first try
    fewer = max(ENOUGH, int(tokens.rows * LONG / 2 / seconds))
    fixes: tuple[tuple[str, dict[str, object]], ...] = ()
    # Plain text is read in whole documents, so a limit on rows says little about its length
    if fewer < tokens.rows and not draft.build_config_so_far().task_kind.plain_text:
        words = _("Use {rows:,} random rows", rows=fewer)
        fixes = ((words, {"data.limit": fewer, "data.pick": "random"}),)
    return Concern(
        "long_run",
        _("It takes about {time}.", time=format_rough_seconds(seconds)),
        _("Try it with fewer rows or a smaller model first, or name a GPU."),
        fixes=fixes,
        about="machine",
    )


def _warn_of_few_held_out(held: int) -> Concern:
    return Concern(
        "few_held_out",
        _("With {held} held-out rows, an improvement cannot be told from chance.", held=held),
        _("Hold out more, or collect more rows."),
        about="data",
    )


def _warn_of_unusable_rows(tokens: Tokens) -> Concern:
    share = tokens.unusable / max(1, tokens.rows)
    said = _(
        "{unusable:,} of {rows:,} rows ({share:.1%}) cannot be trained on: {why}.",
        unusable=tokens.unusable,
        rows=tokens.rows,
        share=share,
        why=_(tokens.reason),
    )
    # Rounded up a little, so the same rows do not exceed the limit by a rounding error
    accepted = min(1.0, round(share + 0.0005, 3))
    stops = share > 0.01
    fixes: list[tuple[str, dict[str, object]]] = []
    # Such rows are fine as they are; another template can write them
    if "chat template" in tokens.reason:
        fixes.append((_("Use a chat template that can write them"), {"model.chat_template": WRITES_ALL}))
    if stops:
        fixes.append((_("Leave them out"), {"data.max_dropped": accepted}))
    return Concern("unusable_rows", said, _("Fix them, or leave them out."), stops, tuple(fixes), "data")


def _capitalise_first(sentence: str) -> str:
    """Capitalise the first letter and keep the others, which `str.capitalize` would lower."""
    return sentence[:1].upper() + sentence[1:]


def summarise_proposal(
    draft: Draft, goal: Goal, facts: ModelFacts, found: Plan, tokens: Tokens, spent: Spent
) -> tuple[str, ...]:
    """Describe the run in sentences, the most important first."""
    lines = [
        _describe_learning(draft, goal, facts, tokens),
        _describe_passes(draft, found, tokens),
        _describe_memory(found),
    ]
    lines.append(_describe_time(spent))
    # With fewer rows, a concern says that they cannot show an improvement
    if tokens.facts.validation_rows >= FEW_HELD_OUT:
        lines.append(
            _(
                "{held:,} rows are held out. At the end you see whether the model is better on them than "
                "before, by more than chance, and you can chat with both.",
                held=tokens.facts.validation_rows,
            )
            if TASKS[draft.values["task"]].writes
            else _(
                "{held:,} rows are held out. At the end you see whether the model is better on them than "
                "before, by more than chance, and you can try it on texts of your own.",
                held=tokens.facts.validation_rows,
            )
        )
    return tuple(lines)


def _describe_learning(draft: Draft, goal: Goal, facts: ModelFacts, tokens: Tokens) -> str:
    known = tokens.facts
    said = {
        "model": one_line(facts.name, 60),
        "parameters": format_count(facts.parameters),
        "goal": _(goal.words),
        "rows": known.rows,
        "tokens": known.tokens or 0,
        "trained": known.supervised or 0,
    }
    if known.tokens and known.supervised and known.supervised < known.tokens:
        return _(
            "{model} ({parameters} parameters) learns: {goal}. From {rows:,} rows with {tokens:,} tokens, "
            "{trained:,} of which are the answers to learn.",
            **said,
        )
    return _(
        "{model} ({parameters} parameters) learns: {goal}. From {rows:,} rows with {tokens:,} tokens.", **said
    )


def _describe_passes(draft: Draft, found: Plan, tokens: Tokens) -> str:
    training = draft.build_config_so_far().training
    steps = found.duration.work.steps if found.duration else 0
    passes = steps * training.batch_size / max(1, tokens.facts.rows)
    return _(
        "Each row is read {epochs:.3g} times, {batch} rows per step: {steps:,} steps.",
        # A run cut to a number of steps makes fewer passes than its epochs say
        epochs=training.epochs if training.max_steps is None else passes,
        batch=training.batch_size,
        steps=steps,
    )


def _describe_memory(found: Plan) -> str:
    return _(
        "It needs about {wanted:.1f} GiB of memory; {card} has {usable:.1f} GiB free.",
        wanted=found.fit.estimate.device,
        card=one_line(_(found.fit.card.name), 40),
        usable=found.fit.card.usable,
    )


def _describe_time(spent: Spent) -> str:
    if spent.seconds is None:
        return _("How long it takes is unknown until its first steps.")
    low, likely, high = map(format_rough_seconds, spent.seconds)
    said = {"time": likely, "low": low, "high": high, "basis": spent.basis}
    if spent.cost is None:
        return _("It takes about {time} ({low} to {high}), by {basis}.", **said)
    return _(
        "It takes about {time} ({low} to {high}) and costs about {cost}, at most {most}, by {basis}.",
        cost=format_money(spent.cost[1]),
        most=format_money(spent.cost[2]),
        **said,
    )
