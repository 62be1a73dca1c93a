"""Without data: how much is needed, an example file of the right shape, rows written here, the demo."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import ClassVar

from textual.content import Content

from tui_tuner.config.advice import words_of
from tui_tuner.config.kinds import TASKS
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.screens.guide.question import Question
from tui_tuner.ui.screens.guide.walk import Walk
from tui_tuner.ui.words import block, mark

EXAMPLE, WRITE, DEMO = "example", "write", "demo"


class NoData(Question):
    """What one can do who has no data yet."""

    PLACE: ClassVar[int] = 2
    HELP_TEXT = _(
        "An example file has the shape that the goal needs: open it in any editor, replace its rows by your "
        "own, and choose it as your data.\n"
        "Rows can be written here, too, one after the other.\n"
        "The demo's rows train something small, to see how everything works."
    )

    def __init__(self, walk: Walk, taken: Callable[[str], None]) -> None:
        """Ask.

        Args:
            taken: Told the path of the data that come of it, once the screen below is on view again.
        """
        super().__init__(walk)
        self._taken = taken

    def asked(self) -> str:
        return _("No data yet: what would you like to do?")

    def meaning(self) -> str:
        from tui_tuner.guiding.amounts import say_numbers

        goal = self.walk.goal
        needs = _(goal.needs) if goal is not None else ""
        return _("It learns from {rows}. {need}", rows=mark(needs, "bold"), need=say_numbers(self.walk.task))

    def listed(self) -> str:
        return _("Ways to begin")

    def on_mount(self) -> None:
        self.draw_answers()

    def draw_answers(self) -> None:
        choices = [
            (EXAMPLE, _("Write an example file here"), _("to be filled in with any editor")),
            (WRITE, _("Write rows here"), _("one after the other, on this screen")),
            (DEMO, _("Try the demo's rows"), _("nothing of your own is learnt")),
        ]
        self.show_answers([(id, self.line(words, means, 32)) for id, words, means in choices])

    def about(self, chosen: str) -> Content:
        if chosen == EXAMPLE:
            return self._example()
        if chosen == WRITE:
            words = _(
                "You see one text after the other and say what belongs to it; each row is kept as soon as it "
                "is written, and the file can be gone on with later."
            )
            return block(words)
        kind = TASKS.get(self.walk.task)
        words = _("Rows of this package: {rows}. They need no download.", rows=_(kind.rows) if kind else "")
        return block(words)

    def _example(self) -> Content:
        from tui_tuner.guiding.examples import example_text, explain_example

        goal = self.walk.answers.task or ""
        text = block(example_text(self.walk.task, goal)).stylize("$dim")
        return Content("\n").join([text, block(explain_example(self.walk.task, goal))])

    def choose(self, chosen: str) -> None:
        if chosen == EXAMPLE:
            self._write_example()
        elif chosen == WRITE:
            self._write()
        else:
            kind = TASKS.get(self.walk.task)
            self._take(kind.demo if kind is not None else DEMO)

    def _take(self, path: str) -> None:
        """Go back to the question with these data."""
        self.app.pop_screen()
        self._taken(path)

    def _write_example(self) -> None:
        from tui_tuner.guiding.examples import write_example

        try:
            written = write_example(self.walk.task, ".", self.walk.answers.task or "")
        except (TunerError, OSError) as error:
            self.tuner.say(words_of(error), "error", 10)
            return
        path = os.path.relpath(written)
        words = _("{path} is written. Put your own rows into it, then take it.", path=one_line(path))
        self.tuner.say(words, timeout=10)
        self._take(path)

    def _write(self) -> None:
        from tui_tuner.ui.screens.guide.annotate import AnnotateScreen

        def written(path: str | None) -> None:
            if path:
                self._take(os.path.relpath(path))

        self.app.push_screen(AnnotateScreen(None, self.walk.task), written)
