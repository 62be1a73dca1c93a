"""The state of a walk through the guide: the answers so far, and the findings for them. No Textual."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from tui_tuner.guiding.guide_answers import Answers
from tui_tuner.locales import _

if TYPE_CHECKING:
    from tui_tuner.guiding.data_look import DataLook
    from tui_tuner.guiding.goals import Goal
    from tui_tuner.guiding.proposal import Proposal
    from tui_tuner.planning.data_facts import DataFacts
    from tui_tuner.tasks.preview.data_finding import FoundFile
    from tui_tuner.ui.drafts import DraftKeeper
    from tui_tuner.ui.editing.draft_files import Draft

QUESTIONS = ("task", "data", "model", "machine", "budget", "judge")


@dataclass
class Walk:
    """The answers and findings of the guide, kept until a run starts or the workbench closes.

    Args:
        chosen: The questions that the user has answered; the answers to others are only suggestions.
    """

    answers: Answers = field(default_factory=Answers)
    chosen: set[str] = field(default_factory=set)
    files: tuple[FoundFile, ...] | None = None
    counted: tuple[int, int] = (0, 0)  # files that were read, and their total
    proposal: Proposal | None = None
    seen: dict[tuple[str, str], Any] = field(default_factory=dict)  # findings about data, by path and task
    draft: Draft | None = None  # the draft of this walk
    ahead: list[str] = field(default_factory=list)  # keys typed while an earlier one is still waiting
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def set_answers(self, **values: Any) -> None:
        """Set answers, and note that the user has chosen them."""
        self.answers = replace(self.answers, **values)
        self.chosen |= set(values)

    def set_fields(self, values: Mapping[str, Any]) -> None:
        """Set fields that no question asks for."""
        self.answers = replace(self.answers, more={**self.answers.more, **values})

    def forget_fields(self, *fields: str) -> None:
        """Unset fields, so that the proposal decides them again."""
        more = {name: value for name, value in self.answers.more.items() if name not in fields}
        self.answers = replace(self.answers, more=more)

    def own_draft(self, drafts: DraftKeeper) -> Draft:
        """Return the draft of this walk; start a new one if another draft was opened in the meantime."""
        if drafts.draft is not self.draft:
            drafts.begin_draft({}, _("guide"))
            self.draft = drafts.draft
        return drafts.draft

    def begin_again_after(self, question: str) -> None:
        """Forget the later answers that depend on a question, after its answer was changed."""
        later = {"task": ("model", "judge"), "data": ("judge",)}.get(question, ())
        self.chosen -= set(later)
        # `more` holds fields that were set for the old answer, such as the columns of another file.
        self.answers = replace(self.answers, more={}, **dict.fromkeys(later))
        self.proposal = None

    def look_around(self, cancelled: Callable[[], bool]) -> tuple[FoundFile, ...]:
        """Return the data files of the working folder; several threads may call this, and it looks once."""
        from tui_tuner.tasks.preview.data_finding import find_data

        def note_progress(count: int, of: int) -> None:
            self.counted = (count, of)

        # The first two questions look at the same folder, each in a thread of its own.
        with self._lock:
            if self.files is None:
                found = find_data(os.getcwd(), note_progress, cancelled)
                # A cancelled search is incomplete, so it must not be kept as the answer.
                if cancelled():
                    return found
                self.files = found
            return self.files

    @property
    def chosen_goal(self) -> Goal | None:
        """The answer to the first question; None if there is none."""
        from tui_tuner.guiding.goals import find_goal

        return find_goal(self.answers.task) if self.answers.task else None

    @property
    def task_name(self) -> str:
        """The name of the goal's task; empty without a goal."""
        goal = self.chosen_goal
        return (goal.known_task or "") if goal is not None else ""

    def data_facts(self) -> DataFacts | None:
        """Return the counted rows and tokens of the data; None if they were not counted."""
        from tui_tuner.planning.data_facts import DataFacts

        found = self._counted_data
        if found is None or not found.rows:
            return None
        tokens = found.total_tokens
        if tokens is None and found.characters is not None:
            # Four characters a token, as in English text, until a tokenizer has counted
            tokens = round(found.characters.mean * found.rows / 4)
        return DataFacts(found.rows, tokens=tokens) if tokens else None

    def find_languages(self) -> tuple[str, ...]:
        """Return the language of the rows, if it was recognised."""
        found = self._counted_data
        return (found.language,) if found is not None and found.language else ()

    @property
    def _counted_data(self) -> DataLook | None:
        seen = self.seen.get((self.answers.data or "", self.task_name))
        return seen.counted if seen is not None else None

    def config_values(self) -> dict[str, Any]:
        """Return the answers so far as values of a config, keyed by dotted field names."""
        found: dict[str, Any] = {}
        if self.task_name:
            found["task"] = self.task_name
        if self.answers.data:
            found["data.path"] = self.answers.data
        if self.answers.model:
            found["model.name"] = self.answers.model
        return {**found, **self.answers.more}

    @property
    def best_file(self) -> FoundFile | None:
        """The file of the working folder that is suggested; None if no file fits a task."""
        return next((one for one in self.files or () if one.task), None)


# Keyed by the app and weak, so that a second app in one process starts without these answers.
_walks: WeakKeyDictionary[Any, Walk] = WeakKeyDictionary()


def find_walk(app: object) -> Walk:
    """Return the walk of a workbench: the one that was left, or a new one."""
    return _walks.setdefault(app, Walk())


def keep_walk(app: object, walk: Walk | None) -> None:
    """Replace the walk of a workbench; None forgets it."""
    _walks.pop(app, None)
    if walk is not None:
        _walks[app] = walk
