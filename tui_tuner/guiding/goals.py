"""What a model can be taught, in a user's words: each goal with the tasks that can do it.

A goal is offered once one of its tasks is in the registry `config.kinds.TASKS`; the first of them that is
there does it. A task that no goal names makes a goal of its own, from its `TaskKind`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tui_tuner.config.kinds import TASKS, TaskKind
from tui_tuner.errors import ConfigError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line


@dataclass(frozen=True)
class Goal:
    """Something to learn.

    Args:
        name: In files of answers.
        words: What it is called.
        means: What is learnt, and from which rows; a sentence or two.
        example: A row, and what the model does with its like afterwards.
        tasks: The tasks that can do it, the best first.
        rows: What its rows are, in a few words; empty for those of its task.
    """

    name: str
    words: str
    means: str
    example: str
    tasks: tuple[str, ...]
    rows: str = ""

    @property
    def task(self) -> str | None:
        """The task that does it; None while there is none."""
        own = (kind.name for kind in TASKS.values() if kind.goal == self.name)
        return next((name for name in (*self.tasks, *own) if name in TASKS), None)

    @property
    def offered(self) -> bool:
        """Whether it can be chosen."""
        return bool(self.task)

    @property
    def needs(self) -> str:
        """What its rows are."""
        return self.rows or (TASKS[self.task].rows if self.task else "")


GOALS: tuple[Goal, ...] = (
    Goal(
        "style",
        N_("Answer in my style"),
        N_(
            "It learns to answer as your examples do: their tone, their length, their form. Each row is a "
            "question, or a whole chat, with the answer that you would give."
        ),
        N_("“Where is my order?” → “It left on Monday, Ada. You can follow it here: …”"),
        ("sft",),
    ),
    Goal(
        "label",
        N_("Label texts"),
        N_("It learns to sort texts into classes that you name, or to give them a number."),
        N_("“The heel broke on the first day.” → complaint"),
        ("classification",),
    ),
    Goal(
        "find",
        N_("Find answers in a text"),
        N_("It learns to mark the place in a text that answers a question, or to say that none does."),
        N_("“When does it close?” + “Open daily from 9 to 17.” → 17"),
        ("question_answering",),
    ),
    Goal(
        "tag",
        N_("Tag words"),
        N_("It learns to mark words in a text: names, places, products, parts of speech."),
        N_("“Ada flew to Lima” → Ada: person, Lima: place"),
        ("token_classification",),
    ),
    Goal(
        "rewrite",
        N_("Translate or summarise"),
        N_("It learns to turn one text into another: into a language, a summary, a title, a form."),
        N_("“The meeting was moved from Monday to Wednesday, as …” → “Meeting: now Wednesday”"),
        ("seq2seq", "sequence_to_sequence", "sft"),
        N_("texts with what is to become of them"),
    ),
    Goal(
        "prefer",
        N_("Prefer one answer over another"),
        N_("It learns which of two answers is better, from pairs that people have compared."),
        N_("A question, the better answer, and the worse one"),
        ("preference", "dpo", "kto", "reward"),
        N_("prompts with a better and a worse answer"),
    ),
    Goal(
        "speak",
        N_("Speak a language or a trade"),
        N_("It reads plain texts, and picks up their language, their words and what they know."),
        N_("A folder of manuals → it goes on in their words"),
        ("pretraining",),
    ),
    Goal(
        "solve",
        N_("Solve tasks with checkable answers"),
        N_("It tries tasks again and again, and learns from whether its own answers were right."),
        N_("“17 × 23 = ?” → 391, checked by a program"),
        ("grpo", "rewards", "reinforcement"),
        N_("tasks whose answers can be checked"),
    ),
)


def goals() -> tuple[Goal, ...]:
    """What can be chosen: the goals that a task is there for, and tasks that no goal names."""
    offered = [goal for goal in GOALS if goal.offered]
    return (*offered, *_own_goals(offered))


def _own_goals(offered: list[Goal]) -> Iterator[Goal]:
    """A goal for each task that none of these leads to."""
    named = {name for goal in GOALS for name in goal.tasks}
    names = {goal.name for goal in GOALS}
    done = {goal.task for goal in offered}
    for kind in TASKS.values():
        if kind.name not in done and kind.name not in named and kind.goal not in names:
            yield own_goal(kind)


def own_goal(kind: TaskKind) -> Goal:
    """A goal made of what a task says of itself."""
    return Goal(kind.name, kind.goal or kind.label, kind.help, kind.example or kind.rows, (kind.name,))


def goal_of(task: str) -> Goal:
    """The first goal that this task does."""
    first = {goal.task: goal for goal in reversed(goals())}
    return first.get(task) or own_goal(TASKS[task])


def find_goal(text: str) -> Goal:
    """The goal that is meant by its name, its words (English or translated), or the name of a task.

    Raises:
        ConfigError: none is, or one that no task can do yet.
    """
    asked = _plain(text)
    for goal in goals():
        if asked in map(_plain, (goal.name, goal.words, _(goal.words))):
            return goal
    for kind in TASKS.values():
        if asked in map(_plain, (kind.name, kind.label, _(kind.label))):
            return goal_of(kind.name)
    later = next((g for g in GOALS if asked in map(_plain, (g.name, g.words, _(g.words), *g.tasks))), None)
    if later is not None:
        raise ConfigError(
            _("nothing here can do “{goal}” yet.", goal=_(later.words)),
            where="task",
            hint=_("Known are {names}.", names=_known()),
            field="task",
        )
    raise ConfigError(
        _("unknown goal or task {value!r}.", value=one_line(text, 80)),
        where="task",
        hint=" ".join(filter(None, (_meant(asked), _("Known are {names}.", names=_known())))),
        field="task",
    )


def _known() -> str:
    """Every goal with its name, and the tasks."""
    said = [f"{goal.name} ({_(goal.words)})" for goal in goals() if goal.name not in TASKS]
    return ", ".join((*said, *TASKS))


def _meant(asked: str) -> str:
    names = {_plain(name): name for goal in goals() for name in (goal.name, _(goal.words))}
    names |= {_plain(name): name for name in TASKS}
    close = difflib.get_close_matches(asked, names, n=1, cutoff=0.6)
    return _("Did you mean {name}?", name=names[close[0]]) if close else ""


def _plain(text: str) -> str:
    """Words without what people write in many ways."""
    return re.sub(r"[\W_]+", " ", text.lower()).strip()
