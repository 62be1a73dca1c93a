"""The question for users without data: an example file, rows written here, or the demo's rows."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import ClassVar

from textual.content import Content

from tui_tuner.config.advice import format_error_words
from tui_tuner.config.kinds.tasks import TASKS
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.screen_words import make_safe_block, mark_placeholder_value
from tui_tuner.ui.screens.guide.guide_question import Question
from tui_tuner.ui.screens.guide.guide_walk import Walk

EXAMPLE, WRITE, DEMO = "example", "write", "demo"


class NoDataQuestion(Question):
    """Offers an example file, writing rows, and the demo's rows."""

    PLACE: ClassVar[int] = 2
    HELP_TEXT = _(
        "An example file has the layout that the goal needs: open it in any editor, replace its rows with "
        "your own, and choose it as your data.\n"
        "You can also write rows here, one after the other.\n"
        "The demo's rows train a small model, to show how everything works."
    )

    def __init__(self, walk: Walk, taken: Callable[[str], None]) -> None:
        """Ask.

        Args:
            taken: Called with the path of the data, after this screen has closed.
        """
        super().__init__(walk)
        self._taken = taken

    def question_text(self) -> str:
        return _("No data yet? Choose a way to get some.")

    def explain_question(self) -> str:
        from tui_tuner.guiding.amounts import describe_example_numbers

        goal = self.walk.chosen_goal
        needs = _(goal.needed_rows) if goal is not None else ""
        return _(
            "The model learns from {rows}. {need}",
            rows=mark_placeholder_value(needs, "bold"),
            need=describe_example_numbers(self.walk.task_name),
        )

    def list_title(self) -> str:
        return _("Ways to start")

    def on_mount(self) -> None:
        self.draw_answers()

    def draw_answers(self) -> None:
        choices = [
            (EXAMPLE, _("Write an example file here"), _("to be filled in with any editor")),
            (WRITE, _("Write rows here"), _("one after the other, on this screen")),
            (DEMO, _("Try the demo's rows"), _("the model learns nothing of your own")),
        ]
        self.show_answers([(id, self.answer_line(words, means, 32)) for id, words, means in choices])

    def render_about(self, chosen: str) -> Content:
        if chosen == EXAMPLE:
            return self._render_example()
        if chosen == WRITE:
            words = _(
                "You see one text after the other and add its answer, class or tags. Each row is saved as "
                "soon as it is complete, and you can continue the file later."
            )
            return make_safe_block(words)
        kind = TASKS.get(self.walk.task_name)
        words = _("Rows of this package: {rows}. They need no download.", rows=_(kind.rows) if kind else "")
        return make_safe_block(words)

    def _render_example(self) -> Content:
        from tui_tuner.guiding.example_rows import explain_example, format_example

        goal = self.walk.answers.task or ""
        text = make_safe_block(format_example(self.walk.task_name, goal)).stylize("$dim")
        return Content("\n").join([text, make_safe_block(explain_example(self.walk.task_name, goal))])

    def accept_answer(self, chosen: str) -> None:
        if chosen == EXAMPLE:
            self._write_example()
        elif chosen == WRITE:
            self._write_rows()
        else:
            kind = TASKS.get(self.walk.task_name)
            self._take_ready_path(kind.demo if kind is not None else DEMO)

    def _take_ready_path(self, path: str) -> None:
        """Close this screen, and choose a path on the question below."""
        # First, so that the question below is on top again when it gets the path.
        self.app.pop_screen()
        self._taken(path)

    def _write_example(self) -> None:
        from tui_tuner.guiding.example_rows import write_example

        try:
            written = write_example(self.walk.task_name, ".", self.walk.answers.task or "")
        except (TunerError, OSError) as error:
            self.tuner_app.show_notice(format_error_words(error), "error", 10)
            return
        # The list of the question below names the files of this folder in the same way.
        path = os.path.relpath(written)
        words = _("{path} was written. Put your own rows into it, then choose it.", path=one_line(path))
        self.tuner_app.show_notice(words, timeout=10)
        self._take_ready_path(path)

    def _write_rows(self) -> None:
        from tui_tuner.ui.screens.guide.annotate import AnnotateScreen

        def take_written(path: str | None) -> None:
            if path:
                self._take_ready_path(os.path.relpath(path))

        self.app.push_screen(AnnotateScreen(None, self.walk.task_name), take_written)
