"""The base of the guide's questions: the question, its explanation, its answers, details of one of them.

Enter accepts the answer under the cursor. If that is still being worked out, Enter is remembered: the screen
shows what it waits for, and continues by itself; any other key cancels that.
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
from tui_tuner.ui.screen_words import fit_screen_column, mark_placeholder_value, render_marked_sentence
from tui_tuner.ui.screens.fixing import put_fix_values
from tui_tuner.ui.screens.guide.guide_walk import Walk
from tui_tuner.ui.screens.screen_base import TunerScreen
from tui_tuner.ui.widgets.topbar import TopBar

QUESTIONS = 5
_MOVES = ("up", "down", "home", "end")


class AnswerList(OptionList):
    """The list of answers. It reports Enter even while it is empty."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select", _("Accept"), key_display="↵"),
        Binding("pagedown", "screen.scroll_about(1)", _("Scroll the details"), show=False),
        Binding("pageup", "screen.scroll_about(-1)", show=False),
    ]

    class EnterPressed(Message):
        """Enter was pressed."""

    def action_select(self) -> None:
        self.post_message(self.EnterPressed())


class Question(TunerScreen):
    """One question of the guide.

    Subclasses implement `question_text` and `explain_question`, fill `answers`, give details of one
    (`render_about`), and accept one (`accept_answer`).
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
        self._waits_since = 0.0  # monotonic seconds since Enter waits; 0 if it does not
        self.moved = False  # the user has moved the cursor
        self._told = ""
        self._about = Content("")
        self._made = False  # the widgets are mounted
        self._left = False  # another screen is on top

    # What a question says

    def question_text(self) -> str:
        """Return the question, in one line."""
        raise NotImplementedError

    def explain_question(self) -> str:
        """Return the explanation of the question, in two or three lines."""
        raise NotImplementedError

    def list_title(self) -> str:
        """Return the title of the list."""
        return _("Answers")

    def describe_work(self) -> str:
        """Return the work that an answer has to wait for, with its progress; empty if there is none."""
        return ""

    def render_about(self, chosen: str) -> Content:
        """Return details of an answer."""
        return Content("")

    def accept_answer(self, chosen: str) -> None:
        """Accept an answer, and open the next question."""
        raise NotImplementedError

    # The screen

    def build_crumb(self) -> Content:
        place = _("question {place} of {count}", place=self.PLACE, count=QUESTIONS)
        return Content.assemble(_("Guide"), "  ", (place, "$dim"))

    def compose_body(self) -> ComposeResult:
        yield Static(id="asked")
        with Vertical(classes="panel", id="list"):
            yield AnswerList(id="answers")
        with VerticalScroll(classes="panel", id="about", can_focus=False):
            yield Static(id="more")

    @property
    def answer_list(self) -> AnswerList:
        return self.query_one(AnswerList)

    @property
    def answer_width(self) -> int:
        """The width of an answer in cells."""
        return max(20, self.size.width - 4)

    @property
    def chosen_id(self) -> str:
        """Return the id of the answer under the cursor; empty if there is none."""
        option = self.answer_list.highlighted_option
        return (option.id or "") if option is not None else ""

    def on_mount(self) -> None:
        self.say_question()
        self.set_focus(self.answer_list)
        # `busy` may end with time alone (see the patience of the question about the model), so it is polled.
        self.set_interval(0.5, self._update_waiting)
        self.show_work()
        self.show_so_far()
        self._made = True
        # An Enter that was typed while the question before was still waiting is meant for this one.
        if self.walk.ahead[:1] == ["enter"]:
            del self.walk.ahead[0]
            self._waits_since = time.monotonic()
            self.call_after_refresh(self.accept_if_ready)

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
        """Draw the answers for the current width."""

    def say_question(self) -> None:
        """Show the question and its explanation."""
        words = Content.assemble(
            (self.question_text(), "bold"), "\n", render_marked_sentence(self.explain_question(), "$dim")
        )
        self.query_one("#asked", Static).update(words)

    def show_so_far(self) -> None:
        """Show the answers so far, at the right end of the top line."""
        self.query_one(TopBar).set_right_words(Content(describe_guide_answers(self.walk)).stylize("$dim"))

    def show_answers(self, lines: Sequence[tuple[str, Content]], at: str = "") -> None:
        """Show these answers, with the cursor on `at`, or where it was."""
        box, before = self.answer_list, self.chosen_id
        known = [option.id for option in box.options]
        if known == [id for id, _line in lines]:
            # The same answers are changed in place: filling the list again would lose its scroll position.
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
        """Show the details of the answer under the cursor, if they have changed."""
        words = self.render_about(self.chosen_id)
        if words.plain != self._about.plain or words.spans != self._about.spans:
            self._about = words
            self.query_one("#more", Static).update(words)

    @on(OptionList.OptionHighlighted, "#answers")
    def _show_highlighted(self) -> None:
        self.show_about()
        self.query_one("#about").scroll_home(animate=False)

    def answer_line(self, words: str, means: str, names: int) -> Content:
        """Return the line of an answer: its words in `names` cells, then its explanation."""
        return Content.assemble(
            (fit_screen_column(words, names), "bold"),
            (fit_screen_column(one_line(means), self.answer_width - names), "$dim"),
        )

    # Enter

    @on(AnswerList.EnterPressed)
    def _take_enter(self) -> None:
        if self._waits_since:  # this one is for the next question
            self.walk.ahead.append("enter")
        else:
            self._waits_since = time.monotonic()
        self.show_work()
        self.accept_if_ready()

    def continue_waiting(self) -> None:
        """Continue with a waiting Enter after something was worked out."""
        self.show_work()
        self.accept_if_ready()

    def accept_if_ready(self) -> None:
        """Accept the answer under the cursor, if Enter waits and the work is done."""
        # Not while a dialog is on top: the question that opens next would end up above it.
        if self._waits_since and not self.describe_work() and self.chosen_id and self.app.screen is self:
            self._waits_since = 0.0
            self.accept_answer(self.chosen_id)

    def on_key(self, event: Key) -> None:
        self.moved = self.moved or event.key in _MOVES
        if not self._waits_since or event.key == "enter":
            return
        if event.key == "ctrl+r":
            self.walk.ahead.append(event.key)  # for the page at the end
            return
        self._waits_since = 0.0  # somebody wants something else by now
        self.walk.ahead.clear()
        self.show_work()

    def _update_waiting(self) -> None:
        self.show_work()
        self.accept_if_ready()

    def show_work(self) -> None:
        """Show the running work in the title of the list."""
        if not self.is_on_view:
            return
        busy = self.describe_work()
        parts: list[Content | str | tuple[str, str]] = [self.list_title()]
        if busy:
            parts.append((f"  {busy}", "$dim"))
        if busy and self._waits_since:
            seconds = int(time.monotonic() - self._waits_since)
            parts.append("  ")
            parts.append(
                render_marked_sentence(
                    _(
                        "{enter} is waiting, {seconds} s",
                        enter=mark_placeholder_value("Enter"),
                        seconds=seconds,
                    )
                )
            )
        title = Content.assemble(*parts)
        # A border title repaints its box even if it is set to the same text, and this comes twice a second.
        if title.plain != self._told:
            self._told = title.plain
            self.query_one("#list").border_title = title

    def action_early(self) -> None:
        """Take an Enter that was typed before the list had the focus."""
        if self._made:
            self._take_enter()
        else:
            self.walk.ahead.append("enter")

    def keep_answers(self) -> None:
        """Save the answers so far as a draft, which the home screen lists."""
        self.walk.own_draft(self.tuner_app.drafts)
        put_fix_values(self.tuner_app, self.walk.config_values())

    def action_scroll_about(self, pages: int) -> None:
        """Scroll the details of an answer."""
        pane = self.query_one("#about")
        pane.scroll_relative(y=pages * max(1, pane.size.height - 1), animate=False)


def describe_guide_answers(walk: Walk) -> str:
    """Return the answers so far as a few words."""
    answers = walk.answers
    parts = []
    if "task" in walk.chosen and answers.task:
        parts.append(find_goal_label(answers.task))
    if "data" in walk.chosen and answers.data:
        parts.append(os.path.basename(answers.data.rstrip("/")) or answers.data)
    if "model" in walk.chosen and answers.model:
        parts.append(os.path.basename(answers.model.rstrip("/")))
    return one_line(" · ".join(parts), 60)


def find_goal_label(name: str) -> str:
    """Return a goal's label; an unknown name is returned as it is."""
    from tui_tuner.guiding.goals import list_goals

    found = next((goal for goal in list_goals() if goal.name == name), None)
    return _(found.words) if found is not None else one_line(name, 40)
