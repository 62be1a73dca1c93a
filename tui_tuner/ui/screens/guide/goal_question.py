"""Question 1: the goal. Suggests one from the data files of the working folder."""

from __future__ import annotations

from typing import ClassVar

from textual import on, work
from textual.content import Content
from textual.message import Message
from textual.worker import get_current_worker

from tui_tuner.guiding.goals import Goal, find_goal_of_task, list_goals
from tui_tuner.locales import _, _n
from tui_tuner.text import one_line
from tui_tuner.ui.screens.guide.guide_question import Question
from tui_tuner.ui.screens.guide.guide_walk import Walk


class LookedAround(Message):
    """The files of the working folder are known."""


class GoalQuestion(Question):
    """A line for each goal that some task can reach."""

    PLACE: ClassVar[int] = 1
    HELP_TEXT = _(
        "Five questions, each with its recommended answer under the cursor: press Enter to accept it. Then "
        "one page explains what will happen, why, how long it takes and what it costs; one key starts the "
        "run.\n"
        "Esc goes back one question, and no answer is lost. If you leave, the settings so far are kept as a "
        "draft on the home screen.\n"
        "This question decides what the rows of your data must look like, as explained below each line. The "
        "suggestion comes from the files in the folder where you started the workbench."
    )

    def question_text(self) -> str:
        return _("What should the model learn to do?")

    def explain_question(self) -> str:
        return _(
            "A model learns from examples: it sees inputs with the outputs that they should give, again and "
            "again. Choose the closest goal; an example of it is shown below."
        )

    def list_title(self) -> str:
        return _("The model learns to …")

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
    def _take_files(self) -> None:
        self._looked = True
        self.draw_answers()
        self.continue_waiting()

    def describe_work(self) -> str:
        # Once the user has moved the cursor, or has answered before, the guess no longer matters and Enter
        # need not wait.
        if self._looked or self.moved or "task" in self.walk.chosen:
            return ""
        count, of = self.walk.counted
        return _("reading the files here: {count} of {of}", count=count, of=of)

    @property
    def _guessed_goal(self) -> Goal | None:
        best = self.walk.best_file
        return find_goal_of_task(best.task) if best is not None else None

    def draw_answers(self) -> None:
        guess = self._guessed_goal
        lines = []
        offered = list_goals()
        names = min(34, max(len(_(goal.words)) for goal in offered) + 3)
        for goal in offered:
            needs = _(goal.needed_rows) if goal.needed_rows else ""
            words = _("from {rows}", rows=needs) if needs else ""
            if guess is not None and goal.name == guess.name and self.walk.best_file is not None:
                words = _("suggested: {file} holds {rows}", file=self.walk.best_file.path, rows=needs)
            lines.append((goal.name, self.answer_line(_(goal.words), words, names)))
        at = ""
        if "task" in self.walk.chosen and not self.answer_list.options:
            at = self.walk.answers.task or ""
        # The guess moves the cursor only as long as the user has not.
        elif guess is not None and not self.moved and "task" not in self.walk.chosen:
            at = guess.name
        self.show_answers(lines, at)

    def render_about(self, chosen: str) -> Content:
        goal = next((goal for goal in list_goals() if goal.name == chosen), None)
        if goal is None:
            return Content("")
        parts = [
            Content(_(goal.means)),
            Content.assemble((_("For example:"), "$dim"), " ", _(goal.example)),
        ]
        if goal.needed_rows:
            parts.append(Content.assemble((_("Your data:"), "$dim"), " ", _(goal.needed_rows)))
        fitting = [one for one in self.walk.files or () if one.is_for_task(goal.known_task or "")]
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

    def accept_answer(self, chosen: str) -> None:
        from tui_tuner.ui.screens.guide.data_question import DataQuestion

        before = self.walk.answers.task
        # Later answers depend on the goal; the same goal keeps them.
        if chosen != before:
            self.walk.begin_again_after("task")
        self.walk.set_answers(task=chosen)
        self.keep_answers()
        self.app.push_screen(DataQuestion(self.walk))
