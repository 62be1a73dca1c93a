"""From five answers to a config: each setting with its reason, from these rows and this machine.

Every answer may be left out. Where no data is named, rows of this package are taken, and that is said.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tui_tuner.config.kinds import TASKS, is_tiny
from tui_tuner.config.tiny import values_to_take
from tui_tuner.errors import HubError, ModelError, TunerError
from tui_tuner.guiding import asked
from tui_tuner.guiding.answers import Answers
from tui_tuner.guiding.data import DataLook, look_at_data
from tui_tuner.guiding.goals import Goal, find_goal, goal_of
from tui_tuner.guiding.machine import Budget, Machine
from tui_tuner.guiding.proposal import Concern, Proposal
from tui_tuner.guiding.proposing import rows, rules, spending, steps, telling, ways
from tui_tuner.guiding.proposing.choosing import choose_model
from tui_tuner.guiding.proposing.draft import DEMO, Draft, Said, Stop
from tui_tuner.locales import _
from tui_tuner.models.facts import ModelFacts, load_facts
from tui_tuner.planning.plan import Plan
from tui_tuner.text import one_line

CORPUS = "demo-corpus"
DEMO_TEXTS = 4000  # of 50,000
LONGEST = 8192  # tokens of a row that are looked at; a model may take more
LONGEST_OF_ENCODERS = 512
DEFAULT_STRIDE = 128
SHORT = {"data.stride": 8}
# Of the concerns about the rows, those that are decided here, with the model and the machine known
_DECIDED = ("too_long",)


def propose(
    answers: Answers, root: str | Path | None = None, said: Said | None = None, stop: Stop | None = None
) -> Proposal:
    """What will be trained, and how.

    Args:
        root: The folder that paths of the answers are looked for in, before the working folder.
        said: Told what is going on, and how far it is.
        stop: Asked whether to give up; what is known by then is proposed.

    Raises:
        ConfigError: an answer that means nothing, or values in `more` that contradict each other.
    """
    draft = Draft(answers, said or (lambda words: None), stop or (lambda: False))
    return _Proposing(draft, Path(root) if root else Path.cwd()).all()


@dataclass
class _Proposing:
    """The way from answers to a proposal."""

    draft: Draft
    root: Path
    look: DataLook | None = None

    def all(self) -> Proposal:
        draft, answers = self.draft, self.draft.answers
        wanted = self._told("task") or answers.task
        goal = find_goal(wanted) if wanted else None
        machine, named = asked.read_machine(answers.machine)
        budget = asked.read_limit(answers.budget, spending.price_of(draft, named))
        task = self._settle_data(goal)
        if task is None:
            return self._done()
        goal = goal or goal_of(task)
        judge = asked.read_judge(answers.judge, task)
        facts = self._settle_model(machine, budget)
        if facts is None:
            return self._done()
        spending.settle_budget(draft, budget, _is_money(answers.budget))
        self._settle_machine(machine)
        tokens = self._count(facts)
        if tokens is None:
            return self._done()
        draft.said(_("looking for settings that fit"))
        found = self._settle_training(facts, tokens, machine)
        spent = spending.spent_by(found, machine, budget.price)
        if spending.keep_within(draft, found, spent, budget):
            found = ways.plan_of(draft.config(), facts, tokens.facts, machine)
            spent = spending.spent_by(found, machine, budget.price)
        self._settle_judge(judge, tokens)
        draft.take_own()
        telling.tell_open(draft, found)
        telling.add_concerns(draft, found, tokens, spent, budget, machine)
        summary = telling.summary(draft, goal, facts, found, tokens, spent)
        return self._done(summary, spent)

    def _told(self, path: str) -> str:
        """A field of the config that the user has set beside the questions."""
        value = self.draft.answers.more.get(path)
        return value if isinstance(value, str) else ""

    # ---- data and task ------------------------------------------------------------------------------------

    def _settle_data(self, goal: Goal | None) -> str | None:
        """Data and task; the name of the task, or None where the rows stop everything."""
        draft = self.draft
        named = self._told("data.path") or draft.answers.data
        if not named:
            return self._take_demo(goal)
        path = self._found(named)
        draft.values["data.path"] = path
        if path.startswith(DEMO):
            task: str | None = (goal.task if goal else None) or ("pretraining" if path == CORPUS else "sft")
        else:
            task = self._suited(path, goal)
        if task is None:
            return None
        looked = self.look
        why = _("It is what “{goal}” takes.", goal=_(goal.words)) if goal else ""
        if looked is not None and not goal:
            why = _("The rows are {words}.", words=_(TASKS[task].rows))
        draft.set("task", task, why or _("It is what these rows are for."))
        shown = _("Their format is {format}.", format=looked.format) if looked and looked.format else ""
        draft.set("data.path", path, " ".join(filter(None, (looked.basis + "." if looked else "", shown))))
        return task

    def _take_demo(self, goal: Goal | None) -> str:
        """Rows of this package, which are said to be no more than that."""
        draft = self.draft
        task = (goal.task if goal else None) or "sft"
        kind = TASKS[task]
        said = _("It is what “{goal}” takes.", goal=_(goal.words)) if goal else _("Nothing was said of it.")
        draft.set("task", task, said)
        path = CORPUS if kind.plain_text and kind.demo == DEMO else DEMO
        draft.set("data.path", path, _("No data was named: these are rows of this package, to try it with."))
        if kind.plain_text:
            draft.set("data.limit", DEMO_TEXTS, _("Enough to see how it works."))
        draft.add(
            Concern(
                "demo_rows",
                _(
                    "No data was named, so it learns from rows of this package: it shows how it works, and "
                    "no more."
                ),
                _("Name a file of your own: {rows}.", rows=_(kind.rows)),
                about="data",
            )
        )
        return task

    def _suited(self, path: str, goal: Goal | None) -> str | None:
        """The task for rows of the user's own, once they were looked at."""
        draft = self.draft
        draft.said(_("looking at the rows"))
        more = {name: value for name, value in draft.answers.more.items() if name.startswith("data.")}
        task = goal.task if goal else None
        self.look = looked = look_at_data(
            path,
            task,
            stop=draft.stop,
            more=more,
            said=lambda count: draft.said(_("{count:,} rows looked at", count=count)),
        )
        draft.add(*(replace(one, about="data") for one in looked.concerns if one.code not in _DECIDED))
        if draft.stuck:
            return None
        return task or (looked.suits[0] if looked.suits else looked.task)

    def _found(self, path: str) -> str:
        """The path as it leads somewhere, or as it is."""
        if path.startswith(DEMO):
            return path
        written = Path(path).expanduser()
        for place in (self.root / written, Path.cwd() / written):
            if os.path.exists(place):
                return os.path.abspath(place)
        return path

    # ---- model and machine --------------------------------------------------------------------------------

    def _settle_model(self, machine: Machine, budget: Budget) -> ModelFacts | None:
        draft = self.draft
        draft.said(_("looking at the model"))
        name = self._told("model.name") or draft.answers.model
        if name:
            here = self.root / Path(name).expanduser()
            path = os.path.abspath(here) if here.is_dir() and name != DEMO and not is_tiny(name) else name
            draft.set("model.name", path, _("It was asked for."))
        else:
            choose_model(draft, machine, budget, self.look, self.root)
        try:
            return load_facts(draft.config().model)
        except (ModelError, HubError) as error:
            draft.add(rows.concern_of(error, "model", "model"))
            return None

    def _settle_machine(self, machine: Machine) -> None:
        draft = self.draft
        for path, value in machine.values.items():
            draft.set(path, value, _("It was asked for."))
        if machine.here:
            shown = "cpu" if machine.card.cpu else "auto"
            summary = machine.hardware.summary()
            draft.tell("hardware.devices", shown, _("This machine: {machine}.", machine=one_line(summary)))
        else:
            said = _(
                "Planned for {card}, with {gib:.1f} GiB to use.", card=machine.name, gib=machine.card.usable
            )
            draft.tell("hardware.devices", "auto", said)

    # ---- rows and training --------------------------------------------------------------------------------

    def _count(self, facts: ModelFacts) -> rows.Tokens | None:
        """The rows as they will be trained on; the length of a sequence and the share held out with them."""
        draft = self.draft
        draft.said(_("counting tokens"))
        try:
            return self._counted(facts)
        except TunerError as error:
            draft.add(rows.concern_of(error, "unusable"))
            return None

    def _counted(self, facts: ModelFacts) -> rows.Tokens:
        draft, kind = self.draft, self.draft.config().task_kind
        most = min(facts.max_positions or LONGEST, LONGEST_OF_ENCODERS if facts.encoder else LONGEST)
        most = max(8, most - draft.config().method.prompt_length)
        first = min(most, rules.TEXT_LENGTH) if kind.plain_text else most
        if draft.own("data.max_length"):
            first = draft.config().data.max_length
        loose: dict[str, Any] = {"data.preflight": "off", "data.max_dropped": 1.0}
        counter = rows.TokenCounter(draft.said, draft.stop)
        begun = {**loose, "data.max_length": first}
        if not draft.own("data.validation"):
            begun["data.validation"] = 0.05
        seen = counter.count(draft.config(begun if first > 3 * DEFAULT_STRIDE else begun | SHORT))
        steps.settle_length(draft, seen, most)
        pieces = len(seen.lengths) if kind.plain_text else seen.facts.rows + seen.facts.validation_rows
        steps.settle_held_out(draft, pieces)
        length = draft.config().data.max_length
        if not any(one > length for one in seen.lengths) and not kind.plain_text:
            loose["data.max_length"] = first  # all fit in both, and the tokens are there
        tokens = counter.count(draft.config(loose))
        while kind.plain_text and steps.hold_more(draft, tokens):
            tokens = counter.count(draft.config(loose))
        return tokens

    def _settle_training(self, facts: ModelFacts, tokens: rows.Tokens, machine: Machine) -> Plan:
        draft = self.draft
        tiny = is_tiny(draft.values.get("model.name"))
        if not tiny:
            steps.settle_steps(draft, tokens.facts.rows)
        found = ways.choose_way(draft, facts, tokens.facts, machine)
        for path, value in values_to_take(draft.nested()).items():
            draft.set(
                path, value, _("What so small a model learns with from random weights, found by trying.")
            )
        if tiny:
            steps.settle_steps(draft, tokens.facts.rows)
        steps.settle_rate(draft, facts, found)
        steps.settle_evaluation(draft, tokens)
        return ways.plan_of(draft.config(), facts, tokens.facts, machine)

    def _settle_judge(self, judge: asked.Judge, tokens: rows.Tokens) -> None:
        draft, held = self.draft, tokens.facts.validation_rows
        if judge.best:
            draft.set("evaluation.best", judge.best, _("It decides which checkpoint is best, as you asked."))
        if judge.scored:
            draft.set("evaluation.metrics", [judge.scored], _("Answers are scored by it, as you asked."))
            why = _("So many held-out rows are answered and scored.")
            draft.set("evaluation.metric_rows", min(64, held), why)
        if judge.prompts:
            why = _("Your own prompts, answered before and after.")
            draft.set("evaluation.prompts", list(judge.prompts), why)

    def _done(self, summary: tuple[str, ...] = (), spent: spending.Spent | None = None) -> Proposal:
        draft = self.draft
        return Proposal(
            draft.answers,
            draft.nested(),
            summary,
            draft.in_order(),
            tuple(sorted(draft.concerns, key=lambda concern: not concern.stops)),
            spent.seconds if spent else None,
            spent.cost if spent else None,
        )


def _is_money(budget: str | float | None) -> bool:
    """Whether a budget was given as money: its time follows from the price, and not the other way round."""
    found = asked.read_limit(budget)
    return found.money is not None
