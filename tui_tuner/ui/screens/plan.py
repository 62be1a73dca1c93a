"""The numbers before the run: memory against a card, what saves some, learning rate, time, and advice."""

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

from tui_tuner.config.advice import words_of
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.runs.events import Phase
from tui_tuner.text import one_line
from tui_tuner.ui import planlook
from tui_tuner.ui.form import problems, put
from tui_tuner.ui.planwords import (
    advice_offers,
    footing,
    lever_offers,
    range_offers,
    rule_offers,
    time_words,
    verdict,
)
from tui_tuner.ui.preferences import remember
from tui_tuner.ui.screens.base import TunerScreen
from tui_tuner.ui.widgets.form.plan_line import Planned
from tui_tuner.ui.widgets.memory_bar import bar_content, breakdown
from tui_tuner.ui.widgets.plan.messages import Counting
from tui_tuner.ui.widgets.plan.pages import PAGES, Pages
from tui_tuner.ui.widgets.plan.waits import Waits
from tui_tuner.ui.widgets.plan.works import LongWorks
from tui_tuner.ui.widgets.topbar import TopBar
from tui_tuner.ui.words import block, plain_value, safe

_WAIT_SECONDS = 1.0


class PlanScreen(LongWorks, TunerScreen):
    """Four pages under a bar of memory. `f` puts what is marked into the settings; all is worked out anew."""

    HELP_TEXT = _(
        "The bar is the card; its patterns are the parts listed below. Nothing is loaded for it.\n"
        "f takes what is marked into the settings: a way to save memory, a learning rate, a fix. z takes it "
        "back.\nc chooses another card, m asks for its price. t tokenises all rows, and counts are exact.\n"
        "r trains some steps over growing learning rates and suggests one; nothing of it is kept.\n"
        "x checks the memory against a trace of the installed libraries, which takes some seconds."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", _("Back")),
        Binding("f3", "back", "", show=False),
        Binding("f", "take", _("Take")),
        Binding("z", "undo", _("Undo")),
        Binding("ctrl+z", "undo", "", show=False),
        Binding("ctrl+y", "redo", _("Redo"), key_display="^y", show=False),
        Binding("c", "card", _("Card")),
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
        self.look: planlook.Look | None = None
        self.waits = Waits()
        self.turn = 0
        self.traced = ""
        self._tracer = None
        self._exact = False
        self._ranging = None
        self._ranged = None

    def crumb(self) -> Content:
        return Content(_("Plan"))

    def body(self) -> ComposeResult:
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
        self.query_one("#tabs").can_focus = False
        self.set_interval(_WAIT_SECONDS, self._tick)
        self._plan()

    def on_unmount(self) -> None:
        if self._tracer is not None:
            self._tracer.close()
        if self._ranging is not None:
            self._ranging.end()

    def on_resize(self) -> None:
        if self.look is not None:
            self._draw_memory(self.look)

    # Working it out

    def _plan(self, exact: bool = False) -> None:
        self.turn += 1
        self._exact = exact
        words = _("tokenising all rows:") if exact else _("working out the plan:")
        self.waits.begin("plan", words, _("Esc leaves it") if exact else "")
        self.say_waits()
        self._work(self.turn, copy.deepcopy(self.tuner.draft), self.tuner.card, exact)

    @work(thread=True, group="plan", exclusive=True)
    def _work(self, turn: int, draft: dict[str, Any], card: str, exact: bool) -> None:
        found, error, worker = None, "", get_current_worker()

        def said(phase: Phase) -> None:
            self.post_message(Counting(turn, phase.done, phase.total or 0, phase.unit))

        try:
            found = planlook.look(
                draft,
                card,
                self.tuner.store.root,
                exact=exact,
                said=said,
                stop=lambda: worker.is_cancelled,
            )
        except (TunerError, OSError, ImportError) as problem:
            error = words_of(problem)
        if not worker.is_cancelled:
            self.post_message(Planned(turn, found, error))

    @on(Counting)
    def _counting(self, message: Counting) -> None:
        if message.turn == self.turn:
            self.waits.count("plan", message.done, message.total, message.unit)

    @on(Planned)
    def _planned(self, message: Planned) -> None:
        if message.turn != self.turn:
            return
        self.waits.end("plan")
        self.say_waits()
        if message.look is None and self._exact and self.look is not None:
            self.tuner.say(message.error, "error", 12)  # what was counted before still holds
            return
        if message.look is None:
            self.query_one("#verdict", Static).update(
                Content.assemble(("✗ ", "$error"), block(message.error))
            )
            return
        self.look, self.traced = message.look, ""
        self._draw(message.look)

    def _tick(self) -> None:
        if self.waits and self.on_view:
            self.say_waits()

    def say_waits(self) -> None:
        """What is waited for, with its count and its seconds; else the card."""
        self.query_one(TopBar).say(
            self.waits.said() if self.waits else safe(self.tuner.card or _("this machine"), 30)
        )

    def work_failed(self, group: str, words: str) -> None:
        if group == "range":
            self._ranging = None
        self.waits.end(group)
        self.say_waits()
        if group == "plan" and self.look is None:
            self.query_one("#verdict", Static).update(Content.assemble(("✗ ", "$error"), words))

    # Drawing

    def _draw(self, look: planlook.Look) -> None:
        pages = self.query_one(Pages)
        self._draw_memory(look)
        pages.fill("memory", lever_offers(look))
        self.draw_ranged(look)
        pages.fill("advice", advice_offers(look))
        count = len(look.plan.advice)
        label = f"4 {PAGES['advice']}" + (f" ({count})" if count else "")
        self.query_one("#tabs #advice", Tab).label = Content(label)
        if self.focused is None:
            pages.show(pages.page)

    def _draw_memory(self, look: planlook.Look) -> None:
        pages = self.query_one(Pages)
        both = self.has_class("-wide") and self.has_class("-tall")
        room = (self.size.width // 3 if both else self.size.width) - 2
        self.query_one("#verdict", Static).update(verdict(look))
        self.draw_traced()
        self.query_one("#bar", Static).update(bar_content(look.estimate, look.card, self.size.width - 2))
        pages.query_one("#parts Static", Static).update(breakdown(look.estimate, 36))
        pages.query_one("#time Static", Static).update(time_words(look, room))

    def draw_traced(self) -> None:
        """What the figures rest on, and what a trace says of them."""
        words = footing(self.look, self.traced) if self.look is not None else Content("")
        line = self.query_one("#footing", Static)
        line.display = bool(words.plain)
        line.update(words)

    def draw_ranged(self, look: planlook.Look) -> None:
        """The rules, and before them what the range test found."""
        pages = self.query_one(Pages)
        pages.fill("rates", range_offers(self._ranged) + rule_offers(look))

    # Pages

    @on(Tabs.TabActivated)
    def _tab(self, event: Tabs.TabActivated) -> None:
        if event.tab.id:
            self.query_one(Pages).show(event.tab.id)

    @on(Pages.Marked)
    def _marked(self, event: Pages.Marked) -> None:
        self.action_go(event.page)

    def action_page(self, by: int) -> None:
        names = list(PAGES)
        self.action_go(names[(names.index(self.query_one(Pages).page) + by) % len(names)])

    def action_go(self, page: str) -> None:
        self.query_one("#tabs", Tabs).active = page
        self.query_one(Pages).show(page)

    # Keys

    def action_back(self) -> None:
        if self._ranging is not None:
            self.tuner.say(_("The range test was stopped; r starts it again."))
        self.dismiss(None)

    @on(OptionList.OptionSelected)
    def _selected(self) -> None:
        self.action_take()

    def action_take(self) -> None:
        """Put what is marked into the settings."""
        offer = self.query_one(Pages).marked()
        if offer is None:
            self.tuner.say(_("There is nothing to take here."), "warning")
            return
        if self._change(offer.values):
            self.tuner.say(", ".join(f"{path}: {plain_value(value)}" for path, value in offer.values.items()))

    def _change(self, values: dict[str, Any]) -> bool:
        """Put values into the settings, and plan anew; whether they are right."""
        draft = copy.deepcopy(self.tuner.draft)
        for path, value in values.items():
            put(draft, path, value)
        wrong = problems(draft, {})
        if wrong:
            self.tuner.say(one_line(next(iter(wrong.values())), 200), "error", 8)
            return False
        self.tuner.draft = draft
        self._plan()
        return True

    def action_undo(self) -> None:
        """Take back the last change of the settings, be it made here or in the form."""
        self._step(back=True)

    def action_redo(self) -> None:
        """Do again what was taken back."""
        self._step(back=False)

    def _step(self, back: bool) -> None:
        from tui_tuner.ui.editing.undo import words_of_step

        step = self.tuner.drafts.undo() if back else self.tuner.drafts.redo()
        if step is None:
            said = _("There is nothing to undo.") if back else _("There is nothing to redo.")
            self.tuner.say(said, timeout=3)
            return
        self.tuner.say(words_of_step(step, back), timeout=4)
        self._plan()

    def action_tokens(self) -> None:
        """Exact counts: tokenise all rows as the run would."""
        self._plan(exact=True)

    def action_price(self) -> None:
        """Ask what an hour costs; no price is known until somebody says it."""
        from tui_tuner.ui.screens.dialogs import AskPath

        hardware = self.tuner.draft.get("hardware")
        now = hardware.get("price_per_hour") if isinstance(hardware, dict) else None
        question = _("What does an hour of this machine cost, in your currency?")
        self.app.push_screen(AskPath(_("Price"), question, "" if now is None else f"{now:g}"), self._priced)

    def _priced(self, said: str | None) -> None:
        if said is None:
            return
        try:
            price = float(said.replace(",", "."))
        except ValueError:
            self.tuner.say(_("{said} is not a number.", said=one_line(said, 40)), "error", 8)
            return
        if self._change({"hardware.price_per_hour": price}):
            self.action_go("time")

    def action_card(self) -> None:
        from tui_tuner.ui.screens.cards import CardDialog

        self.app.push_screen(CardDialog(copy.deepcopy(self.tuner.draft), self.tuner.card), self._card_chosen)

    def _card_chosen(self, name: str | None) -> None:
        if name is None:
            return
        self.tuner.card = name
        remember(card=name)
        self._plan()
