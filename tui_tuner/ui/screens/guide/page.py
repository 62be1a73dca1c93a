"""One page: what will happen, why each setting is what it is, its price, what may go wrong; the start."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.events import Key
from textual.message import Message
from textual.worker import get_current_worker

from tui_tuner.errors import TunerError
from tui_tuner.guiding.answers import Answers
from tui_tuner.guiding.proposal import Proposal
from tui_tuner.locales import _
from tui_tuner.ui import form
from tui_tuner.ui.checking import Refusal, refusal_of
from tui_tuner.ui.screens.base import TunerScreen
from tui_tuner.ui.screens.dialogs import Choose
from tui_tuner.ui.screens.editing.beginning import make_run
from tui_tuner.ui.screens.editing.save import ask_where_to_save
from tui_tuner.ui.screens.guide.told import Way, page_content, ways_of
from tui_tuner.ui.screens.guide.walk import Walk, keep_walk
from tui_tuner.ui.widgets.form.start_check import Checked, StartCheck
from tui_tuner.ui.widgets.judged.fitted import Fitted
from tui_tuner.ui.widgets.topbar import TopBar
from tui_tuner.ui.words import mark, marked

_OF_QUESTIONS = {"data.path": "data", "model.name": "model", "task": "task"}


class Proposed(Message):
    """What the guide proposes for some answers; None where that is refused."""

    def __init__(self, answers: Answers, proposal: Proposal | None, refusal: Refusal | None) -> None:
        super().__init__()
        self.answers, self.proposal, self.refusal = answers, proposal, refusal


class Working(Message):
    """What is being worked out."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.words = words

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Working)


class GuidePage(TunerScreen):
    """Everything before the start, on one page that scrolls."""

    HELP_TEXT = _(
        "^r starts the run. Nothing has been trained before.\n"
        "What may go wrong is marked with ! and has a number: that key takes the way out, F4 lists them all. "
        "✗ has to be dealt with first. ^z takes the last change back.\n"
        "Enter or e opens the whole form with these values: everything can be changed there, and Esc comes "
        "back here. ^s saves them as YAML, for `tui-tuner run`.\n"
        "Times and memory are estimates for these rows and this machine; the run corrects them as it goes."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+r", "start", _("Start"), key_display="^r"),
        Binding("enter,e", "settings", _("Settings"), key_display="↵"),
        Binding("f4", "mend", _("Mend")),
        Binding("ctrl+s", "save", _("Save"), key_display="^s"),
        Binding("ctrl+z", "undo", _("Undo"), key_display="^z"),
        Binding("escape", "back", _("Back")),
        *(Binding(str(number), f"way({number})", show=False) for number in range(1, 10)),
    ]
    DEFAULT_CSS = """
    GuidePage #page { height: 1fr; padding: 1 1 0 1; }
    """

    def __init__(self, walk: Walk) -> None:
        super().__init__()
        self.walk = walk
        self._before: list[Answers] = []  # that ^z goes back to
        self._working = _("what the answers come to")
        self._began = time.monotonic()
        self._done = False
        self._refusal: Refusal | None = None
        self._waits = False  # ^r was pressed before it could be started
        self._away = False  # in the form
        self._made = False  # and not only on its way
        self._title = ""

    def crumb(self) -> Content:
        return Content.assemble(_("Guide"), "  ", (_("what will happen"), "$dim"))

    def body(self) -> ComposeResult:
        with VerticalScroll(id="page"):
            yield Fitted(lambda _width: Content(""))
        yield StartCheck()

    def on_mount(self) -> None:
        self.set_focus(self.query_one("#page"))
        self.set_interval(1.0, self._count)
        self._made = True
        self._waits = self._waits or self.walk.ahead[:1] == ["ctrl+r"]
        self.walk.ahead.clear()
        self._propose()

    def on_screen_resume(self) -> None:
        if self._away:
            self._away = False
            self._take_from_form()

    # Working it out

    def _propose(self) -> None:
        self._done, self._refusal = False, None
        self._began = time.monotonic()
        self._draw()
        self._count()
        self._work_out(self.walk.answers)

    @work(thread=True, group="propose", exclusive=True)
    def _work_out(self, answers: Answers) -> None:
        from tui_tuner.guiding.propose import propose

        worker = get_current_worker()
        proposal, refusal = None, None
        try:
            proposal = propose(answers, said=self._say_working, stop=lambda: worker.is_cancelled)
        except (TunerError, OSError) as problem:
            refusal = refusal_of(problem)
        if not worker.is_cancelled:
            self.post_message(Proposed(answers, proposal, refusal))

    def _say_working(self, words: str) -> None:  # in another thread
        self.post_message(Working(words))

    @on(Working)
    def _is_working(self, message: Working) -> None:
        self._working = message.words
        self._count()

    def work_failed(self, group: str, words: str) -> None:
        if group == "propose":
            self.post_message(Proposed(self.walk.answers, None, Refusal("", words)))

    @on(Proposed)
    def _proposed(self, message: Proposed) -> None:
        if message.answers is not self.walk.answers:
            return
        self._done, self._refusal = True, message.refusal
        self.walk.proposal = message.proposal
        if message.proposal is not None:
            self._put(message.proposal.values)
        self._draw()
        self._count()
        self.refresh_bindings()
        if self._waits:
            self._waits = False
            self.action_start()

    def _put(self, values: Mapping[str, Any]) -> None:
        """Put what is proposed into the draft, as one step that the form can take back."""
        draft = self.walk.own_draft(self.tuner.drafts)
        draft.values = copy.deepcopy(dict(values))
        draft.texts.clear()
        self.tuner.drafts.touch(_("what the guide proposes"))

    def _draw(self) -> None:
        proposal, refusal = self.walk.proposal, self._refusal

        def draw(width: int) -> Content:
            return page_content(proposal if self._done else None, refusal, width)

        self.query_one(Fitted).show(draw)

    def _count(self) -> None:
        """How far it is, at the right end of the top line."""
        if not self.on_view or not self._made:
            return
        seconds = int(time.monotonic() - self._began)
        start = mark("^r")
        if not self._done:
            words = _("{what}, {seconds} s", what=self._working, seconds=seconds)
            if self._waits:
                words = _("{key} waits: {what}, {seconds} s", key=start, what=self._working, seconds=seconds)
        elif self.query_one(StartCheck).starting:
            words = _("looking whether it can be started…")
        elif self._can_start:
            words = _("ready: {key} starts it", key=start)
        else:
            words = _("not yet: see ✗ below")
        if words != self._title:
            self._title = words
            self.query_one(TopBar).say(marked(words, "$dim"))

    # Keys

    @property
    def _can_start(self) -> bool:
        proposal = self.walk.proposal
        return self._done and self._refusal is None and proposal is not None and proposal.can_start

    @property
    def _ways(self) -> list[Way]:
        return ways_of(self.walk.proposal) if self._done else []

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "mend":
            return bool(self._ways)
        if action == "undo":
            return bool(self._before)
        if action in ("settings", "save"):
            return self._done and self.walk.proposal is not None
        return True

    def on_key(self, event: Key) -> None:
        if event.key != "ctrl+r" and self._waits:
            self._waits = False
            self._count()

    def action_start(self) -> None:
        """Start, once it is worked out and looked whether it can be."""
        if not self._done:
            self._waits = True
        elif not self._can_start:
            self.tuner.say(_("Something has to be dealt with first: it is marked with ✗."), "warning")
            self.action_mend()
        elif not self.query_one(StartCheck).starting:
            self.query_one(StartCheck).ask(self.tuner.draft, start=True)
        self._count()

    @on(Checked)
    def _checked(self, message: Checked) -> None:
        if message.refusal is not None:
            self._refusal = message.refusal
            self._draw()
            self.query_one("#page").scroll_home(animate=False)
        elif message.start and self.app.screen is self:
            self._begin(message.values)
        self._count()

    def _begin(self, values: dict[str, Any]) -> None:
        """Make the run and show its live pane, which leads to its results by itself."""
        from tui_tuner.ui.screens.run import RunScreen

        try:
            folder = make_run(self.tuner, values, form.config_of(values))
        except (TunerError, OSError) as error:
            self._refusal = refusal_of(error)
            self._draw()
            return
        self.tuner.drafts.used()
        self.tuner.launch(folder)
        keep_walk(self.app, None)
        while len(self.app.screen_stack) > 2:  # the questions, above the home screen
            self.app.pop_screen()
        self.app.switch_screen(RunScreen(folder, then_results=True))

    def action_settings(self) -> None:
        """The whole form, with these values."""
        if self._done and self.walk.proposal is not None:
            self._away = True
            self.tuner.open_settings(_("guide"))

    def action_save(self) -> None:
        """Keep it as YAML."""
        if self._done and self.walk.proposal is not None:
            ask_where_to_save(self)

    def action_mend(self) -> None:
        """All ways out, as a list."""
        ways = self._ways
        answers = [(str(place), way.words, way.of) for place, way in enumerate(ways)]

        def answered(answer: str | None) -> None:
            if answer is not None:
                self._take(ways[int(answer)])

        if answers:
            self.app.push_screen(Choose(_("What to do"), Content(_("Ways out")), answers), answered)

    def action_way(self, number: int) -> None:
        """Take the way out with this number."""
        ways = self._ways
        if number <= len(ways):
            self._take(ways[number - 1])

    def _take(self, way: Way) -> None:
        self._change(with_values(self.walk.answers, way.values))

    def _change(self, answers: Answers) -> None:
        self._before.append(self.walk.answers)
        self.walk.answers = answers
        self.refresh_bindings()
        self._propose()

    def action_undo(self) -> None:
        """Take the last change back."""
        if self._before:
            self.walk.answers = self._before.pop()
            self.refresh_bindings()
            self._propose()

    def _take_from_form(self) -> None:
        """What was changed in the form is set from here on, whatever else is proposed."""
        proposal = self.walk.proposal
        if proposal is None or self.tuner.drafts.draft is not self.walk.draft:
            return
        now, then = form.differing(self.tuner.draft), form.differing(dict(proposal.values))
        changed = {
            path: form.at(self.tuner.draft, path)
            for path in {**now, **then}
            if path in form.options() and now.get(path) != then.get(path)
        }
        if changed:
            self._change(with_values(self.walk.answers, changed))


def with_values(answers: Answers, values: Mapping[str, Any]) -> Answers:
    """Answers with other values: of a question where a field is one, else beside the questions."""
    from tui_tuner.guiding.goals import goal_of

    more = dict(answers.more)
    found: dict[str, Any] = {}
    for path, value in values.items():
        if path in _OF_QUESTIONS and isinstance(value, str):
            found[_OF_QUESTIONS[path]] = goal_of(value).name if path == "task" else value
            more.pop(path, None)
        else:
            more[path] = value
    return replace(answers, more=more, **found)
