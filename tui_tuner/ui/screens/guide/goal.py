"""Question 1: what should the model learn to do? Guessed from the data files of the working folder."""

from __future__ import annotations

from typing import ClassVar

from textual import on, work
from textual.content import Content
from textual.message import Message
from textual.worker import get_current_worker

from tui_tuner.guiding.goals import Goal, goal_of, goals
from tui_tuner.locales import _, _n
from tui_tuner.text import one_line
from tui_tuner.ui.screens.guide.question import Question
from tui_tuner.ui.screens.guide.walk import Walk


class LookedAround(Message):
    """The files of the working folder were looked at."""


class GoalQuestion(Question):
    """A line for each thing that some task can teach."""

    PLACE: ClassVar[int] = 1
    HELP_TEXT = _(
        "Five questions, each with its best answer under the cursor: Enter takes it. Then one page says what "
        "will happen, why, how long it takes and what it costs; one key starts it.\n"
        "Esc goes back a question, and nothing that was answered is lost. Whoever leaves finds the settings "
        "so far as a draft on the home screen.\n"
        "This question decides what the rows of your data have to be: each line says it below. What is "
        "suggested comes from the files in the folder where the workbench was started."
    )

    def asked(self) -> str:
        return _("What should the model learn to do?")

    def meaning(self) -> str:
        return _(
            "A model learns from examples: it sees what goes in and what should come out, again and again. "
            "Choose what comes nearest; below stands an example of it."
        )

    def listed(self) -> str:
        return _("It learns to …")

    def __init__(self, walk: Walk) -> None:
        super().__init__(walk)
        self._looked = walk.files is not None

    def on_mount(self) -> None:
        self.draw_answers()
        if not self._looked:
            self._look_around()

    @work(thread=True, group="around", exclusive=True)
    def _look_around(self) -> None:
        worker = get_current_worker()
        self.walk.look_around(lambda: worker.is_cancelled)
        if not worker.is_cancelled:
            self.post_message(LookedAround())

    def work_failed(self, group: str, words: str) -> None:
        self.post_message(LookedAround())

    @on(LookedAround)
    def _found(self) -> None:
        self._looked = True
        self.draw_answers()
        self.found_out()

    def busy(self) -> str:
        if self._looked or self.moved or "task" in self.walk.chosen:
            return ""
        count, of = self.walk.counted
        return _("looking at the files here: {count} of {of}", count=count, of=of)

    @property
    def _guess(self) -> Goal | None:
        best = self.walk.best_file
        return goal_of(best.task) if best is not None else None

    def draw_answers(self) -> None:
        guess = self._guess
        lines = []
        offered = goals()
        names = min(34, max(len(_(goal.words)) for goal in offered) + 3)
        for goal in offered:
            needs = _(goal.needs) if goal.needs else ""
            words = _("from {rows}", rows=needs) if needs else ""
            if guess is not None and goal.name == guess.name and self.walk.best_file is not None:
                words = _("suggested: {file} holds {rows}", file=self.walk.best_file.path, rows=needs)
            lines.append((goal.name, self.line(_(goal.words), words, names)))
        at = ""
        if "task" in self.walk.chosen and not self.answers.options:
            at = self.walk.answers.task or ""
        elif guess is not None and not self.moved and "task" not in self.walk.chosen:
            at = guess.name
        self.show_answers(lines, at)

    def about(self, chosen: str) -> Content:
        goal = next((goal for goal in goals() if goal.name == chosen), None)
        if goal is None:
            return Content("")
        parts = [
            Content(_(goal.means)),
            Content.assemble((_("For example:"), "$dim"), " ", _(goal.example)),
        ]
        if goal.needs:
            parts.append(Content.assemble((_("Your data:"), "$dim"), " ", _(goal.needs)))
        fitting = [one for one in self.walk.files or () if one.suits(goal.task or "")]
        if fitting:
            words = _n(
                "{count} file here fits: {file}",
                "{count} files here fit, such as {file}",
                len(fitting),
                count=len(fitting),
                file=one_line(fitting[0].path, 40),
            )
            parts.append(Content(words).stylize("$success"))
        return Content("\n").join(parts)

    def choose(self, chosen: str) -> None:
        from tui_tuner.ui.screens.guide.data import DataQuestion

        before = self.walk.answers.task
        if chosen != before:
            self.walk.begin_again_after("task")
        self.walk.answer(task=chosen)
        self.keep()
        self.app.push_screen(DataQuestion(self.walk))
