"""The plan before a run: memory on a card, ways to save memory, learning rate, time, and advice."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList, Static, Tab, Tabs
from textual.worker import get_current_worker

from tui_tuner.config.advice import format_error_words
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.runs.events import Phase
from tui_tuner.text import one_line
from tui_tuner.ui import planlook
from tui_tuner.ui.form_values import find_draft_problems, set_draft_value
from tui_tuner.ui.planwords import (
    describe_memory_basis,
    describe_plan_fit,
    describe_plan_time,
    list_advice_offers,
    list_lever_offers,
    list_range_offers,
    list_rule_offers,
)
from tui_tuner.ui.preferences import save_preferences
from tui_tuner.ui.screen_words import format_plain_value, make_safe_block, make_safe_line
from tui_tuner.ui.screens.screen_base import TunerScreen
from tui_tuner.ui.widgets.form.plan_line import PlanFound
from tui_tuner.ui.widgets.memory_bar import draw_memory_bar, draw_memory_breakdown
from tui_tuner.ui.widgets.plan.plan_checks import LongWorks
from tui_tuner.ui.widgets.plan.plan_messages import CountProgress
from tui_tuner.ui.widgets.plan.plan_pages import PAGES, Pages
from tui_tuner.ui.widgets.plan.waits import WaitList
from tui_tuner.ui.widgets.topbar import TopBar

_WAIT_SECONDS = 1.0


class PlanScreen(LongWorks, TunerScreen):
    """Four pages below a bar of memory. `f` puts the marked offer into the settings and plans again."""

    HELP_TEXT = _(
        "The bar is the card's memory; its patterns are the parts listed below. Nothing is loaded for it.\n"
        "f puts the marked line into the settings: a way to save memory, a learning rate, a fix. z undoes "
        "it.\nc chooses another card, m sets the price of an hour. t tokenises all rows for exact counts.\n"
        "r trains a few steps with growing learning rates and suggests one; the steps are discarded.\n"
        "x checks the memory against a trace of the installed libraries; this takes a few seconds."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", _("Back")),
        Binding("f3", "back", "", show=False),
        Binding("f", "take", _("Take")),
        Binding("z", "undo", _("Undo")),
        Binding("ctrl+z", "undo", "", show=False),
        Binding("ctrl+y", "redo", _("Redo"), key_display="^y", show=False),
        Binding("c", "card", _("Card")),
        Binding("f7", "methods", _("Compare all methods"), show=False),
        Binding("m", "price", _("Price of an hour"), show=False),
        Binding("t", "tokens", _("Tokens")),
        Binding("x", "trace", _("Trace")),
        Binding("r", "range", _("Range test")),
        Binding("right", "page(1)", _("Next page"), show=False),
        Binding("left", "page(-1)", _("Previous page"), show=False),
        *(
            Binding(str(i + 1), f"go('{name}')", title, show=False)
            for i, (name, title) in enumerate(PAGES.items())
        ),
    ]
    DEFAULT_CSS = """
    PlanScreen #head { height: auto; padding: 1 1 0 1; }
    PlanScreen #verdict, PlanScreen #footing { height: auto; max-height: 5; }
    PlanScreen #bar { height: 1; }
    PlanScreen #tabs { height: 2; margin-top: 1; }
    PlanScreen.-wide.-tall #tabs { display: none; }
    PlanScreen.-wide.-tall #head { padding-bottom: 1; }
    PlanScreen.-wide.-tall Pages { layout: grid; grid-size: 2 2; grid-columns: 2fr 1fr; padding: 0; }
    PlanScreen.-wide.-tall Pages > * { display: block; padding: 0 1; border-top: solid $line; }
    PlanScreen.-wide.-tall Pages > * { border-title-align: left; border-title-color: $dim; }
    PlanScreen.-wide.-tall Pages > .-on { border-top: solid $primary; border-title-color: $primary; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.look: planlook.PlanPreview | None = None
        self.waits = WaitList()
        self.turn = 0
        self.traced = ""
        self._tracer = None
        self._exact = False
        self._ranging = None
        self._ranged = None

    def build_crumb(self) -> Content:
        return Content(_("Plan"))

    def compose_body(self) -> ComposeResult:
        with Vertical(id="head"):
            yield Static(id="verdict")
            yield Static(id="bar")
            yield Static(id="footing")
        yield Tabs(
            *(Tab(Content(f"{i + 1} {title}"), id=name) for i, (name, title) in enumerate(PAGES.items())),
            id="tabs",
        )
        yield Pages(id="pages")

    def on_mount(self) -> None:
        # The arrow keys turn the pages from anywhere, so focused tabs would only be one more stop for Tab.
        self.query_one("#tabs").can_focus = False
        self.set_interval(_WAIT_SECONDS, self._count_seconds)
        self._plan_again()

    def on_unmount(self) -> None:
        if self._tracer is not None:
            # Trace and range test run in processes of their own, which must not outlive the screen.
            self._tracer.close()
        if self._ranging is not None:
            self._ranging.end_test()

    def on_resize(self) -> None:
        if self.look is not None:
            self._draw_memory(self.look)

    # Working it out

    def _plan_again(self, exact: bool = False) -> None:
        self.turn += 1
        self._exact = exact
        words = _("tokenising all rows:") if exact else _("calculating the plan:")
        self.waits.begin_wait("plan", words, _("Esc cancels") if exact else "")
        self.show_waits()
        # A copy, as the settings may be changed while the thread reads them.
        self._work_out_plan(self.turn, copy.deepcopy(self.tuner_app.draft), self.tuner_app.card, exact)

    @work(thread=True, group="plan", exclusive=True)
    def _work_out_plan(self, turn: int, draft: dict[str, Any], card: str, exact: bool) -> None:
        found, error, worker = None, "", get_current_worker()

        def post_count(phase: Phase) -> None:
            self.post_message(CountProgress(turn, phase.done, phase.total or 0, phase.unit))

        try:
            found = planlook.plan_draft(
                draft,
                card,
                self.tuner_app.store.root,
                exact=exact,
                said=post_count,
                stop=lambda: worker.is_cancelled,
            )
        except (TunerError, OSError, ImportError) as problem:
            error = format_error_words(problem)
        if not worker.is_cancelled:
            self.post_message(PlanFound(turn, found, error))

    @on(CountProgress)
    def _show_count(self, message: CountProgress) -> None:
        if message.turn == self.turn:
            self.waits.count_progress("plan", message.done, message.total, message.unit)

    @on(PlanFound)
    def _show_plan(self, message: PlanFound) -> None:
        if message.turn != self.turn:
            return
        self.waits.end_wait("plan")
        self.show_waits()
        # A failed exact count says nothing about the estimate on view, which still holds.
        if message.look is None and self._exact and self.look is not None:
            self.tuner_app.show_notice(message.error, "error", 12)
            return
        if message.look is None:
            self.query_one("#verdict", Static).update(
                Content.assemble(("✗ ", "$error"), make_safe_block(message.error))
            )
            return
        # A trace is of one config: a new plan has none.
        self.look, self.traced = message.look, ""
        self._draw_pages(message.look)

    def _count_seconds(self) -> None:
        if self.waits and self.is_on_view:
            self.show_waits()

    def show_waits(self) -> None:
        """Show in the top line what is being calculated, with count and seconds; otherwise the card."""
        self.query_one(TopBar).set_right_words(
            self.waits.describe_newest()
            if self.waits
            else make_safe_line(self.tuner_app.card or _("this machine"), 30)
        )

    def work_failed(self, group: str, words: str) -> None:
        if group == "range":
            self._ranging = None
        self.waits.end_wait(group)
        self.show_waits()
        if group == "plan" and self.look is None:
            self.query_one("#verdict", Static).update(Content.assemble(("✗ ", "$error"), words))

    # Drawing

    def _draw_pages(self, look: planlook.PlanPreview) -> None:
        pages = self.query_one(Pages)
        self._draw_memory(look)
        pages.fill_page("memory", list_lever_offers(look))
        self.draw_ranged(look)
        pages.fill_page("advice", list_advice_offers(look))
        count = len(look.plan.advice)
        label = f"4 {PAGES['advice']}" + (f" ({count})" if count else "")
        self.query_one("#tabs #advice", Tab).label = Content(label)
        # The first plan focuses a list. Later ones must not move a cursor that is in use.
        if self.focused is None:
            pages.show_page(pages.page)

    def _draw_memory(self, look: planlook.PlanPreview) -> None:
        pages = self.query_one(Pages)
        both = self.has_class("-wide") and self.has_class("-tall")
        # In the grid the right column has a third of the width (see the style sheet).
        room = (self.size.width // 3 if both else self.size.width) - 2
        self.query_one("#verdict", Static).update(describe_plan_fit(look))
        self.draw_traced()
        self.query_one("#bar", Static).update(draw_memory_bar(look.estimate, look.card, self.size.width - 2))
        pages.query_one("#parts Static", Static).update(draw_memory_breakdown(look.estimate, 36))
        pages.query_one("#time Static", Static).update(describe_plan_time(look, room))

    def draw_traced(self) -> None:
        """Show the basis of the figures, and the result of a trace."""
        words = describe_memory_basis(self.look, self.traced) if self.look is not None else Content("")
        line = self.query_one("#footing", Static)
        line.display = bool(words.plain)
        line.update(words)

    def draw_ranged(self, look: planlook.PlanPreview) -> None:
        """Show the learning rate of the range test, then those of the rules."""
        pages = self.query_one(Pages)
        pages.fill_page("rates", list_range_offers(self._ranged) + list_rule_offers(look))

    # Pages

    @on(Tabs.TabActivated)
    def _show_tab(self, event: Tabs.TabActivated) -> None:
        if event.tab.id:
            self.query_one(Pages).show_page(event.tab.id)

    @on(Pages.Marked)
    def _follow_mark(self, event: Pages.Marked) -> None:
        self.action_go(event.page)

    def action_page(self, by: int) -> None:
        names = list(PAGES)
        self.action_go(names[(names.index(self.query_one(Pages).page) + by) % len(names)])

    def action_go(self, page: str) -> None:
        self.query_one("#tabs", Tabs).active = page
        self.query_one(Pages).show_page(page)

    # Keys

    def action_back(self) -> None:
        if self._ranging is not None:
            self.tuner_app.show_notice(_("The range test was stopped; r starts it again."))
        self.dismiss(None)

    @on(OptionList.OptionSelected)
    def _take_selected_offer(self) -> None:
        self.action_take()

    def action_take(self) -> None:
        """Put the marked offer into the settings."""
        offer = self.query_one(Pages).find_marked_offer()
        if offer is None:
            self.tuner_app.show_notice(_("This line has nothing to put into the settings."), "warning")
            return
        if self._change_settings(offer.values):
            self.tuner_app.show_notice(
                ", ".join(f"{path}: {format_plain_value(value)}" for path, value in offer.values.items())
            )

    def _change_settings(self, values: dict[str, Any]) -> bool:
        """Put values into the settings and plan again; return whether they are valid."""
        # Tried on a copy: invalid values must not reach the settings.
        draft = copy.deepcopy(self.tuner_app.draft)
        for path, value in values.items():
            set_draft_value(draft, path, value)
        wrong = find_draft_problems(draft, {})
        if wrong:
            self.tuner_app.show_notice(one_line(next(iter(wrong.values())), 200), "error", 8)
            return False
        self.tuner_app.draft = draft
        self._plan_again()
        return True

    def action_undo(self) -> None:
        """Undo the last change of the settings, whether it was made here or in the form."""
        self._step_history(back=True)

    def action_redo(self) -> None:
        """Redo the change that was undone last."""
        self._step_history(back=False)

    def _step_history(self, back: bool) -> None:
        from tui_tuner.ui.editing.undo import describe_undo_step

        step = self.tuner_app.drafts.undo() if back else self.tuner_app.drafts.redo()
        if step is None:
            said = _("There is nothing to undo.") if back else _("There is nothing to redo.")
            self.tuner_app.show_notice(said, timeout=3)
            return
        self.tuner_app.show_notice(describe_undo_step(step, back), timeout=4)
        self._plan_again()

    def action_tokens(self) -> None:
        """Tokenise all rows as the run would, for exact counts."""
        self._plan_again(exact=True)

    def action_price(self) -> None:
        """Ask for the price of an hour; without one, the plan has no costs."""
        from tui_tuner.ui.screens.dialogs import PathDialog

        hardware = self.tuner_app.draft.get("hardware")
        now = hardware.get("price_per_hour") if isinstance(hardware, dict) else None
        question = _("What does an hour of this machine cost, in your currency?")
        self.app.push_screen(
            PathDialog(_("Price"), question, "" if now is None else f"{now:g}"), self._take_price
        )

    def _take_price(self, said: str | None) -> None:
        if said is None:
            return
        try:
            # Many languages write a decimal comma.
            price = float(said.replace(",", "."))
        except ValueError:
            self.tuner_app.show_notice(_("{said} is not a number.", said=one_line(said, 40)), "error", 8)
            return
        if self._change_settings({"hardware.price_per_hour": price}):
            self.action_go("time")

    def action_methods(self) -> None:
        """Compare all methods for this model and card, and put one of them into the settings."""
        from tui_tuner.ui.screens.method_table import MethodTableScreen

        def take_method(values: dict[str, Any] | None) -> None:
            if values is not None:
                self._change_settings(values)

        self.app.push_screen(MethodTableScreen(self.tuner_app.draft, self.tuner_app.card), take_method)

    def action_card(self) -> None:
        from tui_tuner.ui.screens.cards import CardDialog

        self.app.push_screen(
            CardDialog(copy.deepcopy(self.tuner_app.draft), self.tuner_app.card), self._card_chosen
        )

    def _card_chosen(self, name: str | None) -> None:
        if name is None:
            return
        self.tuner_app.card = name
        save_preferences(card=name)
        self._plan_again()
