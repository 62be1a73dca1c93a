"""What the questions of the guide share: the question and what it means, its answers, more about one of them.

Enter takes the answer under the cursor. While that is still being worked out, Enter is remembered, the screen
counts what it waits for, and goes on by itself; any other key takes that back.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.events import Key
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.screens.base import TunerScreen
from tui_tuner.ui.screens.guide.walk import Walk
from tui_tuner.ui.screens.offers import put_values
from tui_tuner.ui.widgets.topbar import TopBar
from tui_tuner.ui.words import column, mark, marked

QUESTIONS = 5
_MOVES = ("up", "down", "home", "end")


class Answers(OptionList):
    """The answers. Enter is told even where there is none yet."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select", _("Take it"), key_display="↵"),
        Binding("pagedown", "screen.scroll_about(1)", _("Scroll what is told"), show=False),
        Binding("pageup", "screen.scroll_about(-1)", show=False),
    ]

    class Wanted(Message):
        """Enter was pressed."""

    def action_select(self) -> None:
        self.post_message(self.Wanted())


class Question(TunerScreen):
    """One question.

    Subclasses give `asked` and `meaning`, fill `answers`, tell more of one (`about`), take one (`choose`).
    """

    PLACE: ClassVar[int] = 0
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "early", show=False),  # of the list, once it has the focus
        Binding("escape", "back", _("Back")),
        Binding("tab", "app.focus_next", _("Next part"), show=False),
    ]
    DEFAULT_CSS = """
    Question #asked { height: auto; padding: 1 1 0 1; }
    Question #list { height: auto; max-height: 12; margin-top: 1; }
    Question.-tall #list { max-height: 16; }
    Question #list Answers { height: auto; max-height: 100%; text-wrap: nowrap; text-overflow: ellipsis; }
    Question #about { height: 1fr; }
    Question #about Static { height: auto; }
    """

    def __init__(self, walk: Walk) -> None:
        super().__init__()
        self.walk = walk
        self._waits_since = 0.0  # that Enter waits; 0 where it does not
        self.moved = False  # whether somebody has chosen a line by hand
        self._told = ""
        self._about = Content("")
        self._made = False  # and not only on its way
        self._left = False  # for a screen above it

    # What a question says

    def asked(self) -> str:
        """The question, in one line."""
        raise NotImplementedError

    def meaning(self) -> str:
        """What it means, in two or three lines."""
        raise NotImplementedError

    def listed(self) -> str:
        """What the list is called."""
        return _("Answers")

    def busy(self) -> str:
        """What is being worked out that an answer waits for, counted; empty where one can be taken."""
        return ""

    def about(self, chosen: str) -> Content:
        """More about the answer under the cursor."""
        return Content("")

    def choose(self, chosen: str) -> None:
        """Take an answer, and go on."""
        raise NotImplementedError

    # The screen

    def crumb(self) -> Content:
        place = _("question {place} of {count}", place=self.PLACE, count=QUESTIONS)
        return Content.assemble(_("Guide"), "  ", (place, "$dim"))

    def body(self) -> ComposeResult:
        yield Static(id="asked")
        with Vertical(classes="panel", id="list"):
            yield Answers(id="answers")
        with VerticalScroll(classes="panel", id="about", can_focus=False):
            yield Static(id="more")

    @property
    def answers(self) -> Answers:
        return self.query_one(Answers)

    @property
    def width(self) -> int:
        """Cells of an answer."""
        return max(20, self.size.width - 4)

    @property
    def chosen(self) -> str:
        """The id of the answer under the cursor; empty where there is none."""
        option = self.answers.highlighted_option
        return (option.id or "") if option is not None else ""

    def on_mount(self) -> None:
        self.say_question()
        self.set_focus(self.answers)
        self.set_interval(0.5, self._tick)
        self.count()
        self.show_so_far()
        self._made = True
        if self.walk.ahead[:1] == ["enter"]:
            del self.walk.ahead[0]
            self._waits_since = time.monotonic()
            self.call_after_refresh(self.go_on)

    def on_resize(self) -> None:
        self.call_after_refresh(self.draw_answers)

    def on_screen_resume(self) -> None:
        if self._left:  # somebody came back
            self._left = False
            self.walk.ahead.clear()
        self.show_so_far()

    def on_screen_suspend(self) -> None:
        self._left = True
        self._waits_since = 0.0

    def draw_answers(self) -> None:
        """Draw the answers for the width there is."""

    def say_question(self) -> None:
        """The question and what it means."""
        words = Content.assemble((self.asked(), "bold"), "\n", marked(self.meaning(), "$dim"))
        self.query_one("#asked", Static).update(words)

    def show_so_far(self) -> None:
        """The answers so far, at the right end of the top line."""
        self.query_one(TopBar).say(Content(so_far(self.walk)).stylize("$dim"))

    def show_answers(self, lines: Sequence[tuple[str, Content]], at: str = "") -> None:
        """Have these answers, the cursor on one of them; where nobody has moved it, it stays."""
        box, before = self.answers, self.chosen
        known = [option.id for option in box.options]
        if known == [id for id, _line in lines]:
            for index, (_id, line) in enumerate(lines):
                box.replace_option_prompt_at_index(index, line)
        else:
            box.clear_options()
            box.add_options(Option(line, id) for id, line in lines)
        ids = [id for id, _line in lines]
        wanted = at or before
        if ids:
            box.highlighted = ids.index(wanted) if wanted in ids else 0
        self.show_about()

    def show_about(self) -> None:
        """Tell more of the answer under the cursor; only where that is other words."""
        words = self.about(self.chosen)
        if words.plain != self._about.plain or words.spans != self._about.spans:
            self._about = words
            self.query_one("#more", Static).update(words)

    @on(OptionList.OptionHighlighted, "#answers")
    def _highlighted(self) -> None:
        self.show_about()
        self.query_one("#about").scroll_home(animate=False)

    def line(self, words: str, means: str, names: int) -> Content:
        """An answer and, beside it, what it means; the first takes so many cells."""
        return Content.assemble(
            (column(words, names), "bold"), (column(one_line(means), self.width - names), "$dim")
        )

    # Enter

    @on(Answers.Wanted)
    def _wanted(self) -> None:
        if self._waits_since:  # this one is for the next question
            self.walk.ahead.append("enter")
        else:
            self._waits_since = time.monotonic()
        self.count()
        self.go_on()

    def found_out(self) -> None:
        """Something was worked out: an Enter that waits for it goes on."""
        self.count()
        self.go_on()

    def go_on(self) -> None:
        """Take the answer, if Enter waits for it and it can be taken by now."""
        if self._waits_since and not self.busy() and self.chosen and self.app.screen is self:
            self._waits_since = 0.0
            self.choose(self.chosen)

    def on_key(self, event: Key) -> None:
        self.moved = self.moved or event.key in _MOVES
        if not self._waits_since or event.key == "enter":
            return
        if event.key == "ctrl+r":
            self.walk.ahead.append(event.key)  # for the page at the end
            return
        self._waits_since = 0.0  # somebody wants something else by now
        self.walk.ahead.clear()
        self.count()

    def _tick(self) -> None:
        self.count()
        self.go_on()

    def count(self) -> None:
        """Say what is being worked out, in the title of the list."""
        if not self.on_view:
            return
        busy = self.busy()
        parts: list[Content | str | tuple[str, str]] = [self.listed()]
        if busy:
            parts.append((f"  {busy}", "$dim"))
        if busy and self._waits_since:
            seconds = int(time.monotonic() - self._waits_since)
            parts.append("  ")
            parts.append(marked(_("{enter} waits, {seconds} s", enter=mark("Enter"), seconds=seconds)))
        title = Content.assemble(*parts)
        if title.plain != self._told:
            self._told = title.plain
            self.query_one("#list").border_title = title

    def action_early(self) -> None:
        """Enter, typed before there was a list: it is for this question."""
        if self._made:
            self._wanted()
        else:
            self.walk.ahead.append("enter")

    def keep(self) -> None:
        """Keep the answers so far as a draft: whoever leaves finds it on the home screen."""
        self.walk.own_draft(self.tuner.drafts)
        put_values(self.tuner, self.walk.config_values())

    def action_scroll_about(self, pages: int) -> None:
        """Scroll what is told of an answer."""
        pane = self.query_one("#about")
        pane.scroll_relative(y=pages * max(1, pane.size.height - 1), animate=False)


def so_far(walk: Walk) -> str:
    """The answers in a few words."""
    answers = walk.answers
    parts = []
    if "task" in walk.chosen and answers.task:
        parts.append(goal_label(answers.task))
    if "data" in walk.chosen and answers.data:
        parts.append(os.path.basename(answers.data.rstrip("/")) or answers.data)
    if "model" in walk.chosen and answers.model:
        parts.append(os.path.basename(answers.model.rstrip("/")))
    return one_line(" · ".join(parts), 60)


def goal_label(name: str) -> str:
    """A goal's short name; a name that nobody knows as it is."""
    from tui_tuner.guiding.goals import goals

    found = next((goal for goal in goals() if goal.name == name), None)
    return _(found.words) if found is not None else one_line(name, 40)
