"""What will happen, in sentences, and what may go wrong."""

from __future__ import annotations

from tui_tuner.config.kinds import TASKS
from tui_tuner.config.schema import ModelSection
from tui_tuner.guiding.goals import Goal
from tui_tuner.guiding.machine import Budget, Machine
from tui_tuner.guiding.proposal import Concern
from tui_tuner.guiding.proposing.draft import Draft
from tui_tuner.guiding.proposing.rows import Tokens
from tui_tuner.guiding.proposing.spending import Spent
from tui_tuner.locales import _
from tui_tuner.models.facts import ModelFacts
from tui_tuner.models.hub.local import find
from tui_tuner.models.hub.net import is_offline
from tui_tuner.models.hub.place import is_path
from tui_tuner.planning.plan import Plan
from tui_tuner.text import human_count, human_money, one_line, rough_seconds

LONG = 3600.0  # seconds
WRITES_ALL = "chatml"  # a template that writes what others leave out, such as calls of tools
ENOUGH = 100  # rows to try something with
FEW_HELD_OUT = 6  # paired differences, of fewer of which none is beyond chance (sign test: 2 / 2^5 > 0.05)
# Said here by itself, with the figures of the proposal, or decided by it
_SAID = ("few_rows", "batch_over_rows", "few_steps", "budget")
# What no run can begin with: the model has not what its task or method needs
_NEVER_BEGINS = ("writes_and_decides", "no_such_head", "no_prefix")
_TOLD = (
    "model.dtype",
    "data.packing",
    "training.optimizer",
    "training.micro_batch",
    "training.gradient_checkpointing",
)


def tell_open(draft: Draft, found: Plan) -> None:
    """What is left open comes to, on this machine."""
    for reason in found.resolved.reasons:
        if reason.field in _TOLD:
            draft.tell(reason.field, reason.value, reason.why)


def add_concerns(
    draft: Draft, found: Plan, tokens: Tokens, spent: Spent, budget: Budget, machine: Machine
) -> None:
    """The data's, the plan's, and those of the budget."""
    if 0 < tokens.facts.validation_rows < FEW_HELD_OUT:
        draft.add(_few_held_out(tokens.facts.validation_rows))
    if (missing := _not_here(draft.config().model)) is not None:
        draft.add(missing)
    if tokens.unusable and "refused_rows" not in {one.code for one in draft.concerns}:
        draft.add(_unusable(tokens))
    for advice in found.advice:
        if advice.code not in _SAID:
            fixes = ((_("Change it"), advice.fix),) if advice.fix else ()
            stops = advice.code in _NEVER_BEGINS
            about = "model" if stops else ""
            said = _began(advice.text)
            draft.add(Concern(advice.code, said, advice.reason, stops=stops, fixes=fixes, about=about))
    if not budget.given and spent.seconds is not None and spent.seconds[1] > LONG:
        draft.add(_long(draft, tokens, spent.seconds[1]))
    if budget.given and spent.seconds is None:
        said = _("How long it takes cannot be told before it starts: {why}.", why=spent.basis)
        draft.add(Concern("no_time", said, _("Its first steps will tell."), about="budget"))
    if not machine.here:
        name = machine.name
        said = _("It is planned for {card}, and starts on whatever GPU is there.", card=one_line(name))
        draft.add(
            Concern(
                "elsewhere", said, _("Take the config to that machine and start it there."), about="machine"
            )
        )


def _not_here(model: ModelSection) -> Concern | None:
    """That the model has to be fetched first, which no time above counts."""
    if model.architecture is not None or is_path(model.name):
        return None
    if find(model.name, model.revision, model.hub) is not None:
        return None
    name = one_line(model.name, 80)
    if is_offline():
        return Concern(
            "not_here",
            _("{model} is not on this machine, and no hub may be asked.", model=name),
            _("Choose a model that is here, or allow the network."),
            about="model",
        )
    return Concern(
        "not_here",
        _("{model} is not on this machine: the run fetches it first, which no time here counts.", model=name),
        _("Its hub has to be reachable then; `tui-tuner models fetch {model}` brings it before.", model=name),
        about="model",
    )


def _long(draft: Draft, tokens: Tokens, seconds: float) -> Concern:
    """That it takes long, and how few rows would not."""
    fewer = max(ENOUGH, int(tokens.rows * LONG / 2 / seconds))
    fixes: tuple[tuple[str, dict[str, object]], ...] = ()
    if fewer < tokens.rows and not draft.config().task_kind.plain_text:
        words = _("Use {rows:,} rows from anywhere", rows=fewer)
        fixes = ((words, {"data.limit": fewer, "data.pick": "random"}),)
    return Concern(
        "long_run",
        _("It takes about {time}.", time=rough_seconds(seconds)),
        _("Try it with fewer rows or a smaller model first, or name a GPU."),
        fixes=fixes,
        about="machine",
    )


def _few_held_out(held: int) -> Concern:
    return Concern(
        "few_held_out",
        _("With {held} held-out rows, better cannot be told from chance.", held=held),
        _("Hold more out, or gather more rows."),
        about="data",
    )


def _unusable(tokens: Tokens) -> Concern:
    share = tokens.unusable / max(1, tokens.rows)
    said = _(
        "{unusable:,} of {rows:,} rows ({share:.1%}) cannot be trained on: {why}.",
        unusable=tokens.unusable,
        rows=tokens.rows,
        share=share,
        why=_(tokens.reason),
    )
    accepted = min(1.0, round(share + 0.0005, 3))
    stops = share > 0.01
    fixes: list[tuple[str, dict[str, object]]] = []
    if "chat template" in tokens.reason:
        fixes.append((_("Use a chat template that can write them"), {"model.chat_template": WRITES_ALL}))
    if stops:
        fixes.append((_("Leave them out"), {"data.max_dropped": accepted}))
    return Concern("unusable_rows", said, _("Mend them, or leave them out."), stops, tuple(fixes), "data")


def _began(sentence: str) -> str:
    """With a capital letter."""
    return sentence[:1].upper() + sentence[1:]


def summary(
    draft: Draft, goal: Goal, facts: ModelFacts, found: Plan, tokens: Tokens, spent: Spent
) -> tuple[str, ...]:
    """What will happen, the most important first."""
    lines = [_learns(draft, goal, facts, tokens), _reads(draft, found, tokens), _memory(found)]
    lines.append(_time(spent))
    if tokens.facts.validation_rows >= FEW_HELD_OUT:  # of fewer a concern says what they cannot tell
        lines.append(
            _(
                "{held:,} rows are held out. At the end you see whether the model is better on them than "
                "before, by more than chance, and you can talk to both.",
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


def _learns(draft: Draft, goal: Goal, facts: ModelFacts, tokens: Tokens) -> str:
    known = tokens.facts
    said = {
        "model": one_line(facts.name, 60),
        "parameters": human_count(facts.parameters),
        "goal": _(goal.words),
        "rows": known.rows,
        "tokens": known.tokens or 0,
        "trained": known.supervised or 0,
    }
    if known.tokens and known.supervised and known.supervised < known.tokens:
        return _(
            "{model} ({parameters} parameters) learns: {goal}. From {rows:,} rows with {tokens:,} tokens, "
            "{trained:,} of which are what it is to say.",
            **said,
        )
    return _(
        "{model} ({parameters} parameters) learns: {goal}. From {rows:,} rows with {tokens:,} tokens.", **said
    )


def _reads(draft: Draft, found: Plan, tokens: Tokens) -> str:
    training = draft.config().training
    steps = found.duration.work.steps if found.duration else 0
    passes = steps * training.batch_size / max(1, tokens.facts.rows)
    return _(
        "Each row is read {epochs:.3g} times, {batch} in a step: {steps:,} steps.",
        epochs=training.epochs if training.max_steps is None else passes,
        batch=training.batch_size,
        steps=steps,
    )


def _memory(found: Plan) -> str:
    return _(
        "It takes about {wanted:.1f} GiB; {card} has {usable:.1f} GiB free.",
        wanted=found.fit.estimate.device,
        card=one_line(_(found.fit.card.name), 40),
        usable=found.fit.card.usable,
    )


def _time(spent: Spent) -> str:
    if spent.seconds is None:
        return _("How long it takes nobody can tell before its first steps.")
    low, likely, high = map(rough_seconds, spent.seconds)
    said = {"time": likely, "low": low, "high": high, "basis": spent.basis}
    if spent.cost is None:
        return _("It takes about {time} ({low} to {high}), by {basis}.", **said)
    return _(
        "It takes about {time} ({low} to {high}) and costs about {cost}, {most} at most, by {basis}.",
        cost=human_money(spent.cost[1]),
        most=human_money(spent.cost[2]),
        **said,
    )
