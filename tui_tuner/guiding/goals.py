"""Goals in a user's words, each with the tasks that can reach it.

A goal is offered once one of its tasks is in the registry `config.kinds.tasks.TASKS`; the first registered
one is used. A task that no goal names becomes a goal of its own, from its `TaskKind`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tui_tuner.config.kinds.tasks import TASKS, TaskKind
from tui_tuner.errors import ConfigError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line


@dataclass(frozen=True)
class Goal:
    """Something that a model can be taught.

    Args:
        name: Its name in files of answers.
        words: Its label.
        means: What the model learns, and from which rows; a sentence or two.
        example: An input, and what the trained model makes of it.
        tasks: The tasks that can reach it, the best first.
        rows: Its rows in a few words; empty if they are those of its task.
    """

    name: str
    words: str
    means: str
    example: str
    tasks: tuple[str, ...]
    rows: str = ""

    @property
    def known_task(self) -> str | None:
        """Return the registered task that reaches it; None if there is none."""
        own = (kind.name for kind in TASKS.values() if kind.goal == self.name)
        return next((name for name in (*self.tasks, *own) if name in TASKS), None)

    @property
    def is_offered(self) -> bool:
        """Return whether a registered task can reach it."""
        return bool(self.known_task)

    @property
    def needed_rows(self) -> str:
        """Describe its rows in a few words."""
        return self.rows or (TASKS[self.known_task].rows if self.known_task else "")


GOALS: tuple[Goal, ...] = (
    Goal(
        "style",
        N_("Answer in my style"),
        N_(
            "It learns to answer like your examples: their tone, length and form. Each row is a "
            "question or a whole chat, with the answer you would give."
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
        N_("texts with the texts they should become"),
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
        N_("It reads plain text and picks up its language, vocabulary and knowledge."),
        N_("A folder of manuals → it continues in their words"),
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


def list_goals() -> tuple[Goal, ...]:
    """List the goals on offer: those with a registered task, and tasks that no goal names."""
    offered = [goal for goal in GOALS if goal.is_offered]
    return (*offered, *_list_own_goals(offered))


def _list_own_goals(offered: list[Goal]) -> Iterator[Goal]:
    """Yield a goal for each task that no other goal names."""
    named = {name for goal in GOALS for name in goal.tasks}
    names = {goal.name for goal in GOALS}
    done = {goal.known_task for goal in offered}
    for kind in TASKS.values():
        if kind.name not in done and kind.name not in named and kind.goal not in names:
            yield make_own_goal(kind)


def make_own_goal(kind: TaskKind) -> Goal:
    """Build a goal from a task's own label and help."""
    return Goal(kind.name, kind.goal or kind.label, kind.help, kind.example or kind.rows, (kind.name,))


def find_goal_of_task(task: str) -> Goal:
    """Return the first goal that a task reaches."""
    # Reversed, as later keys replace earlier ones and the first goal of a task should stay
    first = {goal.known_task: goal for goal in reversed(list_goals())}
    return first.get(task) or make_own_goal(TASKS[task])


def find_goal(text: str) -> Goal:
    """Find a goal by its name, its label (English or translated), or the name of a task.

    Raises:
        ConfigError: it is unknown, or no task can reach it yet.
    """
    asked = _normalise_words(text)
    for goal in list_goals():
        if asked in map(_normalise_words, (goal.name, goal.words, _(goal.words))):
            return goal
    for kind in TASKS.values():
        if asked in map(_normalise_words, (kind.name, kind.label, _(kind.label))):
            return find_goal_of_task(kind.name)
    # A goal of the list without a registered task gets a better message than an unknown word
    later = next(
        (g for g in GOALS if asked in map(_normalise_words, (g.name, g.words, _(g.words), *g.tasks))), None
    )
    if later is not None:
        raise ConfigError(
            _("“{goal}” is not supported yet.", goal=_(later.words)),
            where="task",
            hint=_("Known are {names}.", names=_list_known_names()),
            field="task",
        )
    raise ConfigError(
        _("unknown goal or task {value!r}.", value=one_line(text, 80)),
        where="task",
        hint=" ".join(
            filter(None, (_suggest_name(asked), _("Known are {names}.", names=_list_known_names())))
        ),
        field="task",
    )


def _list_known_names() -> str:
    """List all names that an answer may use: goals with their labels, and tasks."""
    said = [f"{goal.name} ({_(goal.words)})" for goal in list_goals() if goal.name not in TASKS]
    return ", ".join((*said, *TASKS))


def _suggest_name(asked: str) -> str:
    names = {_normalise_words(name): name for goal in list_goals() for name in (goal.name, _(goal.words))}
    names |= {_normalise_words(name): name for name in TASKS}
    # difflib's default cutoff, which finds typing errors in short words
    close = difflib.get_close_matches(asked, names, n=1, cutoff=0.6)
    return _("Did you mean {name}?", name=names[close[0]]) if close else ""


def _normalise_words(text: str) -> str:
    """Normalise case, spaces, hyphens and punctuation for comparing."""
    return re.sub(r"[\W_]+", " ", text.lower()).strip()
