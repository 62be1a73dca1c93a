"""Turns up to five answers into a config, with a reason for each setting from these rows and this machine.

Every answer is optional. Without data, demo rows of this package are used, and a concern says so.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tui_tuner.config.kinds.tasks import TASKS, is_tiny_model
from tui_tuner.config.tiny import find_missing_tiny_values
from tui_tuner.errors import HubError, ModelError, TunerError
from tui_tuner.guiding import answer_parsing
from tui_tuner.guiding.data_look import DataLook, look_at_data
from tui_tuner.guiding.goals import Goal, find_goal, find_goal_of_task
from tui_tuner.guiding.guide_answers import Answers
from tui_tuner.guiding.machine import Budget, Machine
from tui_tuner.guiding.proposal import Concern, Proposal
from tui_tuner.guiding.proposing import rules, spending, steps, summaries, token_counts, ways
from tui_tuner.guiding.proposing.draft import DEMO, Draft, Said, Stop
from tui_tuner.guiding.proposing.model_choice import choose_model
from tui_tuner.locales import _
from tui_tuner.models.facts import ModelFacts, load_facts
from tui_tuner.planning.plan import Plan
from tui_tuner.text import one_line

CORPUS = "demo-corpus"
DEMO_TEXTS = 4000  # of 50,000
LONGEST = 8192  # tokens of a row that are counted; a model may take more
LONGEST_OF_ENCODERS = 512
DEFAULT_STRIDE = 128
SHORT = {"data.stride": 8}
# Concerns of the look at the data that the proposal decides itself, as it knows model and machine
_DECIDED = ("too_long",)


def propose_config(
    answers: Answers, root: str | Path | None = None, said: Said | None = None, stop: Stop | None = None
) -> Proposal:
    """Propose a config for the answers, as far as they allow.

    Args:
        root: The folder in which paths of the answers are looked up first, before the working folder.
        said: Called with progress messages.
        stop: Returns true to stop early; what is known by then is proposed.

    Raises:
        ConfigError: an answer that is not understood, or contradictory values in `more`.
    """
    draft = Draft(answers, said or (lambda words: None), stop or (lambda: False))
    return _Proposer(draft, Path(root) if root else Path.cwd()).settle_all()


@dataclass
class _Proposer:
    """Settles one question after another; later ones read what earlier ones have set in the draft."""

    draft: Draft
    root: Path
    look: DataLook | None = None

    def settle_all(self) -> Proposal:
        draft, answers = self.draft, self.draft.answers
        wanted = self._read_own_text("task") or answers.task
        goal = find_goal(wanted) if wanted else None
        machine, named = answer_parsing.parse_machine_answer(answers.machine)
        budget = answer_parsing.parse_limit_answer(answers.budget, spending.find_price(draft, named))
        task = self._settle_data(goal)
        if task is None:
            return self._finish_proposal()
        goal = goal or find_goal_of_task(task)
        judge = answer_parsing.parse_judge_answer(answers.judge, task)
        facts = self._settle_model(machine, budget)
        if facts is None:
            return self._finish_proposal()
        # Before planning, as the price is part of what the plan computes
        spending.settle_budget(draft, budget, _is_money(answers.budget))
        self._settle_machine(machine)
        tokens = self._count_rows(facts)
        if tokens is None:
            return self._finish_proposal()
        draft.said(_("looking for settings that fit"))
        found = self._settle_training(facts, tokens, machine)
        spent = spending.estimate_spending(found, machine, budget.price)
        # Fewer steps change warm-up, evaluations and time, so the plan is made again
        if spending.keep_within_budget(draft, found, spent, budget):
            found = ways.plan_on_machine(draft.build_config_so_far(), facts, tokens.facts, machine)
            spent = spending.estimate_spending(found, machine, budget.price)
        self._settle_judge(judge, tokens)
        # Last, so that fields covered by a question appear with the reason given there
        draft.add_own_fields()
        summaries.show_open_fields(draft, found)
        summaries.add_concerns(draft, found, tokens, spent, budget, machine)
        summary = summaries.summarise_proposal(draft, goal, facts, found, tokens, spent)
        return self._finish_proposal(summary, spent)

    def _read_own_text(self, path: str) -> str:
        """Return a text field that the user has set directly; empty if there is none."""
        value = self.draft.answers.more.get(path)
        return value if isinstance(value, str) else ""

    # ---- data and task ------------------------------------------------------------------------------------

    def _settle_data(self, goal: Goal | None) -> str | None:
        """Set data and task; return the task's name, or None if the rows cannot be used at all."""
        draft = self.draft
        named = self._read_own_text("data.path") or draft.answers.data
        if not named:
            return self._take_demo(goal)
        path = self._find_path(named)
        # Set before the task is known, as the config must name its data; the reason follows below
        draft.values["data.path"] = path
        if path.startswith(DEMO):
            task: str | None = (goal.known_task if goal else None) or (
                "pretraining" if path == CORPUS else "sft"
            )
        else:
            task = self._find_suited_task(path, goal)
        if task is None:
            return None
        looked = self.look
        why = _("The task for “{goal}”.", goal=_(goal.words)) if goal else ""
        if looked is not None and not goal:
            why = _("The rows are {words}.", words=_(TASKS[task].rows))
        draft.set_field("task", task, why or _("The task that these rows fit."))
        shown = _("Their format is {format}.", format=looked.format) if looked and looked.format else ""
        draft.set_field(
            "data.path", path, " ".join(filter(None, (looked.basis + "." if looked else "", shown)))
        )
        return task

    def _take_demo(self, goal: Goal | None) -> str:
        """Use demo rows of this package, with a concern that says so; return the task."""
        draft = self.draft
        task = (goal.known_task if goal else None) or "sft"
        kind = TASKS[task]
        said = _("The task for “{goal}”.", goal=_(goal.words)) if goal else _("No task was named.")
        draft.set_field("task", task, said)
        path = CORPUS if kind.plain_text and kind.demo == DEMO else DEMO
        draft.set_field("data.path", path, _("No data was named: these are demo rows of this package."))
        if kind.plain_text:
            draft.set_field("data.limit", DEMO_TEXTS, _("Enough to see how it works."))
        draft.add_concerns(
            Concern(
                "demo_rows",
                _(
                    "No data was named, so it trains on demo rows of this package: that shows how training "
                    "works, and no more."
                ),
                _("Name a file of your own: {rows}.", rows=_(kind.rows)),
                about="data",
            )
        )
        return task

    def _find_suited_task(self, path: str, goal: Goal | None) -> str | None:
        """Look at the user's rows; return the task they fit, or None if a concern blocks the start."""
        draft = self.draft
        draft.said(_("checking the rows"))
        more = {name: value for name, value in draft.answers.more.items() if name.startswith("data.")}
        task = goal.known_task if goal else None
        self.look = looked = look_at_data(
            path,
            task,
            stop=draft.stop,
            more=more,
            said=lambda count: draft.said(_("{count:,} rows checked", count=count)),
        )
        draft.add_concerns(
            *(replace(one, about="data") for one in looked.concerns if one.code not in _DECIDED)
        )
        # Counting tokens of rows that cannot be trained on would only repeat the error
        if draft.is_blocked:
            return None
        return task or (looked.suits[0] if looked.suits else looked.task)

    def _find_path(self, path: str) -> str:
        """Return the absolute path of an existing file or folder; any other name unchanged."""
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
        draft.said(_("checking the model"))
        name = self._read_own_text("model.name") or draft.answers.model
        if name:
            # `demo` and the tiny models are names of this package, even if a folder has the same name
            here = self.root / Path(name).expanduser()
            path = (
                os.path.abspath(here) if here.is_dir() and name != DEMO and not is_tiny_model(name) else name
            )
            draft.set_field("model.name", path, _("It was asked for."))
        else:
            choose_model(draft, machine, budget, self.look, self.root)
        try:
            return load_facts(draft.build_config_so_far().model)
        except (ModelError, HubError) as error:
            draft.add_concerns(token_counts.turn_error_into_concern(error, "model", "model"))
            return None

    def _settle_machine(self, machine: Machine) -> None:
        draft = self.draft
        for path, value in machine.field_values.items():
            draft.set_field(path, value, _("It was asked for."))
        if machine.is_here:
            shown = "cpu" if machine.card.cpu else "auto"
            summary = machine.hardware.describe_hardware()
            draft.show_default(
                "hardware.devices", shown, _("This machine: {machine}.", machine=one_line(summary))
            )
        else:
            said = _(
                "Planned for {card}, with {gib:.1f} GiB to use.",
                card=machine.display_name,
                gib=machine.card.usable,
            )
            draft.show_default("hardware.devices", "auto", said)

    # ---- rows and training --------------------------------------------------------------------------------

    def _count_rows(self, facts: ModelFacts) -> token_counts.Tokens | None:
        """Count the rows, and set `max_length` and the held-out share by them; None if they are unusable."""
        draft = self.draft
        draft.said(_("counting tokens"))
        try:
            return self._count_and_settle(facts)
        except TunerError as error:
            draft.add_concerns(token_counts.turn_error_into_concern(error, "unusable"))
            return None

    def _count_and_settle(self, facts: ModelFacts) -> token_counts.Tokens:
        draft, kind = self.draft, self.draft.build_config_so_far().task_kind
        most = min(facts.max_positions or LONGEST, LONGEST_OF_ENCODERS if facts.encoder else LONGEST)
        # Virtual tokens of prompt tuning take up positions of the model, too
        most = max(8, most - draft.build_config_so_far().method.prompt_length)
        first = min(most, rules.TEXT_LENGTH) if kind.plain_text else most
        if kind.encoder_decoder:
            return self._count_both_sides(most)
        if draft.has_own("data.max_length"):
            first = draft.build_config_so_far().data.max_length
        loose: dict[str, Any] = {"data.preflight": "off", "data.max_dropped": 1.0}
        counter = token_counts.TokenCounter(draft.said, draft.stop)
        # The first count allows the longest length the model takes, to learn how long the rows really are
        begun = {**loose, "data.max_length": first}
        if not draft.has_own("data.validation"):
            begun["data.validation"] = 0.05
        seen = counter.count_tokens(
            draft.build_config_so_far(begun if first > 3 * DEFAULT_STRIDE else begun | SHORT)
        )
        steps.settle_length(draft, seen, most)
        pieces = len(seen.lengths) if kind.plain_text else seen.facts.rows + seen.facts.validation_rows
        steps.settle_held_out(draft, pieces)
        length = draft.build_config_so_far().data.max_length
        if not any(one > length for one in seen.lengths) and not kind.plain_text:
            loose["data.max_length"] = (
                first  # all rows fit either way, so the cached tokens of the first count can be used
            )
        tokens = counter.count_tokens(draft.build_config_so_far(loose))
        # Each round raises the share, up to a limit, so this ends
        while kind.plain_text and steps.hold_out_more(draft, tokens):
            tokens = counter.count_tokens(draft.build_config_so_far(loose))
        return tokens

    def _count_both_sides(self, most: int) -> token_counts.Tokens:
        """Count sources and targets, and set their limits and the held-out share by them."""
        draft = self.draft
        loose: dict[str, Any] = {"data.preflight": "off", "data.max_dropped": 1.0}
        counter = token_counts.TokenCounter(draft.said, draft.stop)
        limits = ("data.max_source", "data.max_target")
        begun = {**loose, **{path: most for path in limits if not draft.has_own(path)}}
        if not draft.has_own("data.validation"):
            begun["data.validation"] = 0.05
        seen = counter.count_tokens(draft.build_config_so_far(begun))
        steps.settle_sides(draft, seen, most)
        steps.settle_held_out(draft, seen.facts.rows + seen.facts.validation_rows)
        return counter.count_tokens(draft.build_config_so_far(loose))

    def _settle_training(self, facts: ModelFacts, tokens: token_counts.Tokens, machine: Machine) -> Plan:
        draft = self.draft
        tiny = is_tiny_model(draft.values.get("model.name"))
        # Tiny models take tried values first; `settle_field` then leaves those alone
        if not tiny:
            steps.settle_steps(draft, tokens.facts.rows)
        found = ways.choose_way(draft, facts, tokens.facts, machine)
        for path, value in find_missing_tiny_values(draft.nest_values()).items():
            draft.set_field(
                path, value, _("Found by trial, for models this small that start from random weights.")
            )
        if tiny:
            steps.settle_steps(draft, tokens.facts.rows)
        steps.settle_rate(draft, facts, found)
        steps.settle_evaluation(draft, tokens)
        return ways.plan_on_machine(draft.build_config_so_far(), facts, tokens.facts, machine)

    def _settle_judge(self, judge: answer_parsing.Judge, tokens: token_counts.Tokens) -> None:
        draft, held = self.draft, tokens.facts.validation_rows
        if judge.best:
            draft.set_field(
                "evaluation.best", judge.best, _("It decides which checkpoint is best, as you asked.")
            )
        if judge.scored:
            draft.set_field(
                "evaluation.metrics", [judge.scored], _("Answers are scored by it, as you asked.")
            )
            why = _("The number of held-out rows that are answered and scored.")
            draft.set_field("evaluation.metric_rows", min(64, held), why)
        if judge.prompts:
            why = _("Your own prompts, answered before and after.")
            draft.set_field("evaluation.prompts", list(judge.prompts), why)

    def _finish_proposal(
        self, summary: tuple[str, ...] = (), spent: spending.Spent | None = None
    ) -> Proposal:
        draft = self.draft
        return Proposal(
            draft.answers,
            draft.nest_values(),
            summary,
            draft.sort_settings(),
            # sorted() is stable: blocking concerns first, the others in the order in which they were found
            tuple(sorted(draft.concerns, key=lambda concern: not concern.stops)),
            spent.seconds if spent else None,
            spent.cost if spent else None,
        )


def _is_money(budget: str | float | None) -> bool:
    """Return whether the budget is an amount of money, whose time follows from the price."""
    found = answer_parsing.parse_limit_answer(budget)
    return found.money is not None
