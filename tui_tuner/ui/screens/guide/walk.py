"""What one walk through the guide knows: the answers so far, and what was found out for them. No Textual."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from tui_tuner.guiding.answers import Answers
from tui_tuner.locales import _

if TYPE_CHECKING:
    from tui_tuner.guiding.data import DataLook
    from tui_tuner.guiding.goals import Goal
    from tui_tuner.guiding.proposal import Proposal
    from tui_tuner.planning.data_facts import DataFacts
    from tui_tuner.tasks.preview.finding import FoundFile
    from tui_tuner.ui.drafts import DraftKeeper
    from tui_tuner.ui.editing.kept import Draft

QUESTIONS = ("task", "data", "model", "machine", "budget", "judge")


@dataclass
class Walk:
    """Lives as long as the workbench, or until a run was started: whoever goes back finds it as it was.

    Args:
        chosen: The questions that somebody has answered; the answers to others are only suggested.
    """

    answers: Answers = field(default_factory=Answers)
    chosen: set[str] = field(default_factory=set)
    files: tuple[FoundFile, ...] | None = None
    counted: tuple[int, int] = (0, 0)  # files that were looked into, and of how many
    proposal: Proposal | None = None
    seen: dict[tuple[str, str], Any] = field(default_factory=dict)  # looks at data, by path and task
    draft: Draft | None = None  # that this walk writes
    ahead: list[str] = field(default_factory=list)  # keys that were typed while an earlier one still waits
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, **values: Any) -> None:
        """Take answers; they are one's own from here on."""
        self.answers = replace(self.answers, **values)
        self.chosen |= set(values)

    def put(self, values: Mapping[str, Any]) -> None:
        """Set fields beside the questions."""
        self.answers = replace(self.answers, more={**self.answers.more, **values})

    def forget(self, *fields: str) -> None:
        """Leave fields to what is proposed again."""
        more = {name: value for name, value in self.answers.more.items() if name not in fields}
        self.answers = replace(self.answers, more=more)

    def own_draft(self, drafts: DraftKeeper) -> Draft:
        """The draft of this walk, begun anew where another was begun meanwhile."""
        if drafts.draft is not self.draft:
            drafts.begin({}, _("guide"))
            self.draft = drafts.draft
        return drafts.draft

    def begin_again_after(self, question: str) -> None:
        """Another answer to a question: what was answered for the one before is suggested anew."""
        later = {"task": ("model", "judge"), "data": ("judge",)}.get(question, ())
        self.chosen -= set(later)
        self.answers = replace(self.answers, more={}, **dict.fromkeys(later))
        self.proposal = None

    def look_around(self, cancelled: Callable[[], bool]) -> tuple[FoundFile, ...]:
        """The data files of the working folder. Asked by several threads, it is looked once."""
        from tui_tuner.tasks.preview.finding import find_data

        def said(count: int, of: int) -> None:
            self.counted = (count, of)

        with self._lock:
            if self.files is None:
                found = find_data(os.getcwd(), said, cancelled)
                if cancelled():
                    return found
                self.files = found
            return self.files

    @property
    def goal(self) -> Goal | None:
        """What was answered to the first question."""
        from tui_tuner.guiding.goals import find_goal

        return find_goal(self.answers.task) if self.answers.task else None

    @property
    def task(self) -> str:
        """The task that does it."""
        goal = self.goal
        return (goal.task or "") if goal is not None else ""

    def data_facts(self) -> DataFacts | None:
        """How many rows and tokens were counted of the data; None where they were not."""
        from tui_tuner.planning.data_facts import DataFacts

        found = self._counted
        if found is None or not found.rows:
            return None
        tokens = found.total_tokens
        if tokens is None and found.characters is not None:
            tokens = round(
                found.characters.mean * found.rows / 4
            )  # of English text, until a tokenizer counts
        return DataFacts(found.rows, tokens=tokens) if tokens else None

    def languages(self) -> tuple[str, ...]:
        """The language of the rows, where it could be told."""
        found = self._counted
        return (found.language,) if found is not None and found.language else ()

    @property
    def _counted(self) -> DataLook | None:
        seen = self.seen.get((self.answers.data or "", self.task))
        return seen.counted if seen is not None else None

    def config_values(self) -> dict[str, Any]:
        """The answers so far as values of a config, by the dotted names of their fields."""
        found: dict[str, Any] = {}
        if self.task:
            found["task"] = self.task
        if self.answers.data:
            found["data.path"] = self.answers.data
        if self.answers.model:
            found["model.name"] = self.answers.model
        return {**found, **self.answers.more}

    @property
    def best_file(self) -> FoundFile | None:
        """The file that is suggested: the likeliest of the folder."""
        return next((one for one in self.files or () if one.task), None)


_walks: WeakKeyDictionary[Any, Walk] = WeakKeyDictionary()


def walk_of(app: object) -> Walk:
    """The walk of a workbench: the one that was left, or a new one."""
    return _walks.setdefault(app, Walk())


def keep_walk(app: object, walk: Walk | None) -> None:
    """Have another walk; None begins anew the next time."""
    _walks.pop(app, None)
    if walk is not None:
        _walks[app] = walk
