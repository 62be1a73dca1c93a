"""From five answers to a config: each setting with its reason, from these rows and this machine.

Every answer may be left out. Where no data is named, the rows of this package are taken, and that is said.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui_tuner.config.kinds import TASKS, is_tiny
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import DataError, HubError, ModelError, TunerError
from tui_tuner.guiding import asked, rows, rules, spending, steps, telling, ways
from tui_tuner.guiding.answers import Answers
from tui_tuner.guiding.asked import Budget, Machine
from tui_tuner.guiding.draft import Draft, Said, Stop
from tui_tuner.guiding.goals import Goal, find_goal, goal_of
from tui_tuner.guiding.proposal import Concern, Proposal
from tui_tuner.locales import _
from tui_tuner.models.facts import ModelFacts, load_facts
from tui_tuner.planning.hardware import Hardware, detect
from tui_tuner.planning.plan import Plan
from tui_tuner.text import one_line

DEMO = "demo"
CORPUS = "demo-corpus"
DEMO_TEXTS = 4000  # of 50,000
LONGEST = 8192  # tokens of a row that are looked at; a model may take more
LONGEST_OF_ENCODERS = 512
DEFAULT_STRIDE = 128
SHORT = {"data.stride": 8}


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

    def all(self) -> Proposal:
        answers = self.draft.answers
        wanted = self._told("task") or answers.task
        goal = find_goal(wanted) if wanted else None
        machine, budget = asked.read_machine(answers.machine), asked.read_budget(answers.budget)
        task = self._settle_data(goal)
        if task is None:
            return self._done(goal)
        goal = goal or goal_of(task)
        judge = asked.read_judge(answers.judge, task)
        hardware = detect()
        self.draft.said(_("looking at the model"))
        facts = self._settle_model(machine, hardware)
        if facts is None:
            return self._done(goal)
        price = spending.settle_budget(self.draft, budget, machine)
        self._settle_machine(machine, hardware)
        tokens = self._count(facts)
        if tokens is None:
            return self._done(goal)
        self.draft.said(_("looking for settings that fit"))
        found = self._settle_training(facts, tokens, machine, hardware, budget)
        spent = spending.spent_by(found, machine, price)
        if spending.keep_within(self.draft, found, spent, budget):
            found = ways.plan_of(self.draft.config(), facts, tokens.facts, machine, hardware)
            spent = spending.spent_by(found, machine, price)
        self._settle_judge(judge, tokens)
        self.draft.take_own()
        telling.tell_open(self.draft, found)
        telling.add_concerns(self.draft, found, tokens, spent, budget, machine)
        summary = telling.summary(self.draft, goal, facts, found, tokens, spent)
        return self._done(goal, summary, spent)

    def _told(self, path: str) -> str:
        """A field of the config that the user has set beside the questions."""
        value = self.draft.answers.more.get(path)
        return value if isinstance(value, str) else ""

    # ---- data and task ------------------------------------------------------------------------------------

    def _settle_data(self, goal: Goal | None) -> str | None:
        """Data and task; the name of the task, or None where the rows stop everything."""
        draft, answers = self.draft, self.draft.answers
        path = answers.data or self._told("data.path")
        task = goal.task if goal else None
        if not path:
            task = task or "sft"
            draft.set("task", task, self._why_task(goal, task, ""))
            draft.set(
                "data.path",
                _demo_of(task),
                _("No data was named: these are rows of this package, to try it with."),
            )
            if TASKS[task].plain_text:
                draft.set("data.limit", DEMO_TEXTS, _("Enough to see how it works."))
            draft.add(_demo_rows(task))
            return task
        path = self._found(path)
        looked = self._glance(path)
        if looked is None:
            return None
        if task is None:
            task = looked.task
        if task is None:
            draft.add(_no_task(looked))
            return None
        if looked.way is not None and goal is None:
            draft.add(self._other_shape(looked))
        draft.set("task", task, self._why_task(goal, task, looked.words))
        draft.set("data.path", path, _("Their format is {format}.", format=looked.format))
        problem = rows.takes(draft.config())
        if problem is not None:
            draft.add(self._wrong_shape(problem, task, looked))
            return None
        return task

    def _why_task(self, goal: Goal | None, task: str, words: str) -> str:
        if goal is not None and goal.name != task:
            return _("It is what “{goal}” takes.", goal=_(goal.words))
        if goal is not None:
            return _("It was asked for.")
        return _("The rows are {words}.", words=words) if words else _("Nothing was said of it.")

    def _found(self, path: str) -> str:
        """The path as it leads somewhere, or as it is."""
        if path.startswith(DEMO):
            return path
        written = Path(path).expanduser()
        for place in (self.root / written, Path.cwd() / written):
            if os.path.exists(place):
                return str(place.absolute())
        return path

    def _glance(self, path: str) -> rows.Glance | None:
        draft = self.draft
        draft.said(_("looking at the rows"))
        probe = Draft(draft.answers)
        probe.values = {"data.path": path}
        try:
            return rows.glance(probe.config().data)
        except (DataError, HubError) as error:
            draft.values["data.path"] = path
            draft.add(rows.concern_of(error, "unreadable", "data"))
            return None
        except OSError as error:
            said = DataError(_("cannot be read: {problem}.", problem=error.strerror), where=one_line(path))
            draft.add(rows.concern_of(said, "unreadable", "data"))
            return None

    def _other_shape(self, looked: rows.Glance) -> Concern:
        """Rows that a task takes only in another reading than the first that comes to mind."""
        assert looked.way is not None
        words, values = looked.way
        return Concern(
            "other_shape",
            _("These rows are in the format {format}.", format=looked.format),
            words,
            fixes=((words, values),),
            about="data",
        )

    def _wrong_shape(self, problem: DataError, task: str, looked: rows.Glance) -> Concern:
        """Rows that the task cannot use."""
        concern = rows.concern_of(problem, "wrong_shape")
        fixes = concern.fixes
        if looked.task and looked.task != task and looked.task in TASKS:
            words = _("Learn what these rows are for: {task}", task=_(TASKS[looked.task].label))
            fixes = ((words, {"task": looked.task}), *fixes)
        return Concern("wrong_shape", concern.message, concern.way_out, True, fixes, "data")

    # ---- model and machine --------------------------------------------------------------------------------

    def _settle_model(self, machine: Machine, hardware: Hardware) -> ModelFacts | None:
        draft = self.draft
        name = draft.answers.model or self._told("model.name")
        if name:
            here = self.root / Path(name).expanduser()
            path = str(here.absolute()) if here.is_dir() and not _is_word(name) else name
            draft.set("model.name", path, _("It was asked for."))
        else:
            name, why = self._choose_model(machine, hardware)
            draft.set("model.name", name, why)
        try:
            return load_facts(draft.config().model)
        except (ModelError, HubError) as error:
            draft.add(rows.concern_of(error, "model", "model"))
            return None

    def _choose_model(self, machine: Machine, hardware: Hardware) -> tuple[str, str]:
        """A model for this task, data and machine."""
        task, path = self.draft.values["task"], str(self.draft.values["data.path"])
        kind = TASKS[task]
        if path.startswith(DEMO):
            return kind.tiny or DEMO, _(
                "The small model for the rows of this package: it is here, and quick."
            )
        gpu = machine.card is not None or (bool(hardware.usable_gpus) and not machine.cpu)
        if kind.decides:
            return "distilbert-base-uncased", _("A small encoder that many have trained for such tasks.")
        if gpu:
            return "Qwen/Qwen3-0.6B", _("A small model of today that writes many languages.")
        return "HuggingFaceTB/SmolLM2-135M-Instruct", _("Small enough to be trained on a processor.")

    def _settle_machine(self, machine: Machine, hardware: Hardware) -> None:
        if machine.cpu:
            self.draft.set("hardware.devices", "cpu", _("The processor was asked for."))
        elif machine.here:
            shown = "auto" if hardware.usable_gpus else "cpu"
            self.draft.tell(
                "hardware.devices", shown, _("This machine: {machine}.", machine=hardware.summary())
            )
        else:
            assert machine.card is not None
            said = _(
                "Planned for {card}, with {gib:.1f} GiB to use.",
                card=machine.card.name,
                gib=machine.card.usable,
            )
            self.draft.tell("hardware.devices", "auto", said)

    # ---- rows and training --------------------------------------------------------------------------------

    def _most_tokens(self, facts: ModelFacts, config: RunConfig) -> int:
        """The longest row that the model takes, in tokens."""
        most = facts.max_positions or LONGEST
        most = min(most, LONGEST_OF_ENCODERS if facts.encoder else LONGEST)
        return max(8, most - config.method.prompt_length)

    def _count(self, facts: ModelFacts) -> rows.Tokens | None:
        """The rows as they will be trained on; the length of a sequence and the share held out with them."""
        draft = self.draft
        kind = draft.config().task_kind
        most = self._most_tokens(facts, draft.config())
        first = rules.TEXT_LENGTH if kind.plain_text else most
        if draft.own("data.max_length"):
            first = draft.config().data.max_length
        loose: dict[str, Any] = {"data.preflight": "off", "data.max_dropped": 1.0}
        draft.said(_("counting tokens"))
        counter = rows.TokenCounter(draft.said, draft.stop)
        try:
            begun = {**loose, "data.max_length": first, "data.validation": 0.05}
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
        except TunerError as error:
            draft.add(rows.concern_of(error, "unusable"))
            return None

    def _settle_training(
        self, facts: ModelFacts, tokens: rows.Tokens, machine: Machine, hardware: Hardware, budget: Budget
    ) -> Plan:
        draft = self.draft
        taken = steps.settle_steps(draft, tokens.facts.rows)
        found = ways.choose_way(draft, facts, tokens.facts, machine, hardware)
        steps.settle_rate(draft, facts, found)
        steps.settle_evaluation(draft, tokens, taken)
        return ways.plan_of(draft.config(), facts, tokens.facts, machine, hardware)

    def _settle_judge(self, judge: asked.Judge, tokens: rows.Tokens) -> None:
        draft, held = self.draft, tokens.facts.validation_rows
        if judge.best:
            draft.set("evaluation.best", judge.best, _("It decides which checkpoint is best, as you asked."))
        if judge.scored:
            draft.set("evaluation.metrics", [judge.scored], _("Answers are scored by it, as you asked."))
            draft.set(
                "evaluation.metric_rows", min(64, held), _("So many held-out rows are answered and scored.")
            )
        if judge.prompts:
            draft.set(
                "evaluation.prompts", list(judge.prompts), _("Your own prompts, answered before and after.")
            )

    def _done(
        self, goal: Goal | None, summary: tuple[str, ...] = (), spent: spending.Spent | None = None
    ) -> Proposal:
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


def _is_word(name: str) -> bool:
    return name == DEMO or is_tiny(name)


def _demo_rows(task: str) -> Concern:
    """That nothing of the user's own is learnt."""
    return Concern(
        "demo_rows",
        _("No data was named, so it learns from rows of this package: it shows how it works, and no more."),
        _("Name a file of your own: {rows}.", rows=_(TASKS[task].rows)),
        about="data",
    )


def _demo_of(task: str) -> str:
    """The rows of this package for a task."""
    kind = TASKS[task]
    return CORPUS if kind.plain_text and kind.demo == DEMO else DEMO


def _no_task(looked: rows.Glance) -> Concern:
    """That nothing here learns from such rows."""
    words, values = looked.way if looked.way is not None else ("", {})
    return Concern(
        "no_task",
        _(
            "These rows are in the format {format}, and no task here learns from them yet.",
            format=looked.format,
        ),
        words,
        True,
        ((words, values),) if looked.way is not None else (),
        "data",
    )
