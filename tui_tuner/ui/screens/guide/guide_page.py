"""The last page of the guide: what will happen, the reasons for all settings, problems, and the start."""

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
from tui_tuner.guiding.guide_answers import Answers
from tui_tuner.guiding.proposal import Proposal
from tui_tuner.locales import _
from tui_tuner.ui import form_values
from tui_tuner.ui.screen_words import mark_placeholder_value, render_marked_sentence
from tui_tuner.ui.screens.dialogs import ChoiceDialog
from tui_tuner.ui.screens.editing.saving_yaml import ask_where_to_save
from tui_tuner.ui.screens.editing.start_from import create_draft_run
from tui_tuner.ui.screens.guide.guide_walk import Walk, keep_walk
from tui_tuner.ui.screens.guide.page_text import NumberedFix, list_page_fixes, render_page
from tui_tuner.ui.screens.screen_base import TunerScreen
from tui_tuner.ui.start_checking import Refusal, convert_error_to_refusal
from tui_tuner.ui.widgets.form.start_check import StartCheck, StartChecked
from tui_tuner.ui.widgets.judged.fitted_text import Fitted
from tui_tuner.ui.widgets.topbar import TopBar

_OF_QUESTIONS = {"data.path": "data", "model.name": "model", "task": "task"}


class ProposalMade(Message):
    """The proposal for some answers; None with a refusal."""

    def __init__(self, answers: Answers, proposal: Proposal | None, refusal: Refusal | None) -> None:
        super().__init__()
        self.answers, self.proposal, self.refusal = answers, proposal, refusal


class StepBegun(Message):
    """The current step of working out the proposal, as words."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.words = words

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, StepBegun)


class GuidePage(TunerScreen):
    """The proposal on one page that scrolls, with keys to fix problems and to start."""

    HELP_TEXT = _(
        "^r starts the run; nothing is trained before that.\n"
        "Problems are marked with !, and their fixes are numbered: press the number to apply one, F4 to list "
        "them all. Fix those with ✗ first. ^z undoes the last change.\n"
        "Enter or e opens the form with all settings, where you can change them; Esc comes back here. ^s "
        "saves them as YAML, for `tui-tuner run`.\n"
        "Times and memory are estimates for these rows and this machine; the run updates them as it trains."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+r", "start", _("Start"), key_display="^r"),
        Binding("enter,e", "settings", _("Settings"), key_display="↵"),
        Binding("f4", "mend", _("Fix")),
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
        self._before: list[Answers] = []  # the answers that ^z goes back to
        self._working = _("working out the settings")
        self._began = time.monotonic()
        self._done = False
        self._refusal: Refusal | None = None
        self._waits = False  # ^r was pressed before the proposal was done
        self._away = False  # the form is open on top
        self._made = False  # the widgets are mounted
        self._title = ""

    def build_crumb(self) -> Content:
        return Content.assemble(_("Guide"), "  ", (_("what will happen"), "$dim"))

    def compose_body(self) -> ComposeResult:
        with VerticalScroll(id="page"):
            yield Fitted(lambda _width: Content(""))
        yield StartCheck()

    def on_mount(self) -> None:
        self.set_focus(self.query_one("#page"))
        self.set_interval(1.0, self._show_wait)
        self._made = True
        # ^r may have been typed on an earlier question, while that one was still waiting.
        self._waits = self._waits or self.walk.ahead[:1] == ["ctrl+r"]
        self.walk.ahead.clear()
        self._propose_again()

    def on_screen_resume(self) -> None:
        if self._away:
            self._away = False
            self._take_from_form()

    # Working it out

    def _propose_again(self) -> None:
        self._done, self._refusal = False, None
        self._began = time.monotonic()
        self._draw_page()
        self._show_wait()
        self._work_out(self.walk.answers)

    @work(thread=True, group="propose", exclusive=True)
    def _work_out(self, answers: Answers) -> None:
        from tui_tuner.guiding.propose import propose_config

        worker = get_current_worker()
        proposal, refusal = None, None
        try:
            proposal = propose_config(answers, said=self._say_working, stop=lambda: worker.is_cancelled)
        except (TunerError, OSError) as problem:
            refusal = convert_error_to_refusal(problem)
        if not worker.is_cancelled:
            self.post_message(ProposalMade(answers, proposal, refusal))

    def _say_working(self, words: str) -> None:  # in another thread
        self.post_message(StepBegun(words))

    @on(StepBegun)
    def _is_working(self, message: StepBegun) -> None:
        self._working = message.words
        self._show_wait()

    def work_failed(self, group: str, words: str) -> None:
        if group == "propose":
            self.post_message(ProposalMade(self.walk.answers, None, Refusal("", words)))

    @on(ProposalMade)
    def _show_proposal(self, message: ProposalMade) -> None:
        # The answers were changed while this proposal was worked out.
        if message.answers is not self.walk.answers:
            return
        self._done, self._refusal = True, message.refusal
        self.walk.proposal = message.proposal
        if message.proposal is not None:
            self._put_values(message.proposal.values)
        self._draw_page()
        self._show_wait()
        self.refresh_bindings()
        if self._waits:
            self._waits = False
            self.action_start()

    def _put_values(self, values: Mapping[str, Any]) -> None:
        """Put the proposed values into the draft, as one step that the form can undo."""
        draft = self.walk.own_draft(self.tuner_app.drafts)
        draft.values = copy.deepcopy(dict(values))
        # Texts that did not parse belong to the values that are replaced here.
        draft.texts.clear()
        self.tuner_app.drafts.note_change(_("what the guide proposes"))

    def _draw_page(self) -> None:
        proposal, refusal = self.walk.proposal, self._refusal

        def draw_width(width: int) -> Content:
            return render_page(proposal if self._done else None, refusal, width)

        self.query_one(Fitted).show_drawn(draw_width)

    def _show_wait(self) -> None:
        """Show the progress at the right end of the top line."""
        if not self.is_on_view or not self._made:
            return
        seconds = int(time.monotonic() - self._began)
        start = mark_placeholder_value("^r")
        if not self._done:
            words = _("{what}, {seconds} s", what=self._working, seconds=seconds)
            if self._waits:
                words = _(
                    "{key} is waiting: {what}, {seconds} s", key=start, what=self._working, seconds=seconds
                )
        elif self.query_one(StartCheck).starting:
            words = _("checking whether the run can start…")
        elif self._is_startable:
            words = _("ready: press {key} to start", key=start)
        else:
            words = _("not ready: see ✗ below")
        if words != self._title:
            self._title = words
            self.query_one(TopBar).set_right_words(render_marked_sentence(words, "$dim"))

    # Keys

    @property
    def _is_startable(self) -> bool:
        proposal = self.walk.proposal
        return self._done and self._refusal is None and proposal is not None and proposal.can_start

    @property
    def _numbered_fixes(self) -> list[NumberedFix]:
        return list_page_fixes(self.walk.proposal) if self._done else []

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "mend":
            return bool(self._numbered_fixes)
        if action == "undo":
            return bool(self._before)
        if action in ("settings", "save"):
            return self._done and self.walk.proposal is not None
        return True

    def on_key(self, event: Key) -> None:
        # Any other key takes back a start that is still waiting, so that it cannot surprise the user.
        if event.key != "ctrl+r" and self._waits:
            self._waits = False
            self._show_wait()

    def action_start(self) -> None:
        """Start the run, once the proposal is done and the check before a start has passed."""
        if not self._done:
            self._waits = True
        elif not self._is_startable:
            self.tuner_app.show_notice(_("Fix the problems marked with ✗ first."), "warning")
            self.action_mend()
        elif not self.query_one(StartCheck).starting:
            self.query_one(StartCheck).ask_check(self.tuner_app.draft, start=True)
        self._show_wait()

    @on(StartChecked)
    def _take_start_check(self, message: StartChecked) -> None:
        if message.refusal is not None:
            self._refusal = message.refusal
            self._draw_page()
            # The refusal is shown at the top of the page.
            self.query_one("#page").scroll_home(animate=False)
        # A start switches the screen, which would close a dialog that was opened during the check.
        elif message.start and self.app.screen is self:
            self._begin_run(message.values)
        self._show_wait()

    def _begin_run(self, values: dict[str, Any]) -> None:
        """Create the run, start it, and show its live pane, which switches to the results at the end."""
        from tui_tuner.ui.screens.run import RunScreen

        try:
            folder = create_draft_run(self.tuner_app, values, form_values.build_draft_config(values))
        except (TunerError, OSError) as error:
            self._refusal = convert_error_to_refusal(error)
            self._draw_page()
            return
        self.tuner_app.drafts.note_run_started()
        self.tuner_app.launch_run(folder)
        keep_walk(self.app, None)
        # The run replaces the whole guide: Esc from it must not lead back into the questions.
        while len(self.app.screen_stack) > 2:  # the questions, above the home screen
            self.app.pop_screen()
        self.app.switch_screen(RunScreen(folder, then_results=True))

    def action_settings(self) -> None:
        """Open the form with the proposed settings."""
        if self._done and self.walk.proposal is not None:
            self._away = True
            self.tuner_app.open_settings(_("guide"))

    def action_save(self) -> None:
        """Save the proposed settings as YAML."""
        if self._done and self.walk.proposal is not None:
            ask_where_to_save(self)

    def action_mend(self) -> None:
        """List the fixes for all problems."""
        ways = self._numbered_fixes
        answers = [(str(place), way.words, way.of) for place, way in enumerate(ways)]

        def apply_numbered_fix(answer: str | None) -> None:
            if answer is not None:
                self._apply_fix(ways[int(answer)])

        if answers:
            self.app.push_screen(
                ChoiceDialog(_("What to do"), Content(_("Fixes")), answers), apply_numbered_fix
            )

    def action_way(self, number: int) -> None:
        """Apply the fix with this number."""
        ways = self._numbered_fixes
        if number <= len(ways):
            self._apply_fix(ways[number - 1])

    def _apply_fix(self, way: NumberedFix) -> None:
        self._change_answers(merge_guide_values(self.walk.answers, way.values))

    def _change_answers(self, answers: Answers) -> None:
        self._before.append(self.walk.answers)
        self.walk.answers = answers
        self.refresh_bindings()
        self._propose_again()

    def action_undo(self) -> None:
        """Undo the last change."""
        if self._before:
            self.walk.answers = self._before.pop()
            self.refresh_bindings()
            self._propose_again()

    def _take_from_form(self) -> None:
        """Keep the values that were changed in the form, also in later proposals."""
        proposal = self.walk.proposal
        # In the form, another draft may have been opened, whose values are not about this proposal.
        if proposal is None or self.tuner_app.drafts.draft is not self.walk.draft:
            return
        # Compared as differences from the defaults: a value at its default may be missing in either.
        now, then = (
            form_values.list_differing_values(self.tuner_app.draft),
            form_values.list_differing_values(dict(proposal.values)),
        )
        changed = {
            path: form_values.find_draft_value(self.tuner_app.draft, path)
            for path in {**now, **then}
            if path in form_values.list_options() and now.get(path) != then.get(path)
        }
        if changed:
            self._change_answers(merge_guide_values(self.walk.answers, changed))


def merge_guide_values(answers: Answers, values: Mapping[str, Any]) -> Answers:
    """Return answers with other values: as an answer if a question asks for the field, else as a setting."""
    from tui_tuner.guiding.goals import find_goal_of_task

    more = dict(answers.more)
    found: dict[str, Any] = {}
    for path, value in values.items():
        if path in _OF_QUESTIONS and isinstance(value, str):
            found[_OF_QUESTIONS[path]] = find_goal_of_task(value).name if path == "task" else value
            more.pop(path, None)
        else:
            more[path] = value
    return replace(answers, more=more, **found)
