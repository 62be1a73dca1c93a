"""The numbers before the run: memory against a card, what saves some, learning rate, time, and advice."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import ContentSwitcher, OptionList, Static, Tab, Tabs
from textual.widgets.option_list import Option
from textual.worker import get_current_worker

from tui_tuner.config.advice import words_of
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui import planlook
from tui_tuner.ui.form import problems, put
from tui_tuner.ui.planwords import (
    Offer,
    advice_offers,
    footing,
    lever_offers,
    lever_title,
    range_offers,
    rule_offers,
    time_words,
    verdict,
)
from tui_tuner.ui.preferences import remember
from tui_tuner.ui.rangelook import RangeProcess
from tui_tuner.ui.screens.base import TunerScreen
from tui_tuner.ui.widgets.form.plan_line import Planned
from tui_tuner.ui.widgets.memory_bar import bar_content, breakdown
from tui_tuner.ui.widgets.topbar import TopBar
from tui_tuner.ui.words import block, plain_value, safe

if TYPE_CHECKING:
    from tui_tuner.launch.tracing import Tracer
    from tui_tuner.planning.range_test import RangeTest

PAGES = {
    "memory": _("Memory"),
    "rates": _("Learning rate"),
    "time": _("Time and money"),
    "advice": _("Advice"),
}
LISTS = {"memory": "#levers", "rates": "#rules", "advice": "#findings"}


class Traced(Message):
    """What the trace of the installed libraries says."""

    def __init__(self, turn: int, sentence: str) -> None:
        super().__init__()
        self.turn, self.sentence = turn, sentence


class RangeStep(Message):
    """How far the range test is."""

    def __init__(self, done: int, total: int) -> None:
        super().__init__()
        self.done, self.total = done, total


class Ranged(Message):
    """The range test's curve, or why there is none."""

    def __init__(self, test: RangeTest | None, error: str) -> None:
        super().__init__()
        self.test, self.error = test, error


class PlanScreen(TunerScreen):
    """Four pages under a bar of memory. `f` puts what is marked into the settings; all is worked out anew."""

    HELP_TEXT = _(
        "The bar is the card; its patterns are the parts listed below. Nothing is loaded for it.\n"
        "f takes what is marked into the settings: a way to save memory, a learning rate, a fix. z takes it "
        "back.\nc chooses another card. t tokenises all rows, so that counts are exact.\n"
        "r trains some steps over growing learning rates and suggests one; nothing of it is kept.\n"
        "x checks the memory against a trace of the installed libraries, which takes some seconds."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f3", "back", _("Back"), key_display="esc"),
        Binding("f", "take", _("Take")),
        Binding("z,ctrl+z", "undo", _("Undo"), key_display="z"),
        Binding("ctrl+y", "redo", _("Redo"), key_display="^y", show=False),
        Binding("c", "card", _("Card")),
        Binding("t", "tokens", _("Tokens")),
        Binding("x", "trace", _("Trace")),
        Binding("r", "range", _("Range test")),
        Binding("right", "page(1)", _("Next page"), show=False),
        Binding("left", "page(-1)", _("Page before"), show=False),
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
    PlanScreen #pages { height: 1fr; padding: 0 1; }
    PlanScreen #parts { width: 38; height: 1fr; padding-right: 1; }
    PlanScreen OptionList { height: 1fr; min-height: 4; text-wrap: nowrap; text-overflow: ellipsis; }
    PlanScreen #memory OptionList { width: 1fr; }
    PlanScreen .words { height: auto; max-height: 15; color: $dim; padding-top: 1; }
    PlanScreen .title { height: 1; color: $dim; text-wrap: nowrap; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.look: planlook.Look | None = None
        self._turn = 0
        self._offers: dict[str, list[Offer]] = {name: [] for name in LISTS}
        self._tracer: Tracer | None = None
        self._traced = ""
        self._exact = False
        self._ranging: RangeProcess | None = None
        self._ranged: RangeTest | None = None

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
        with ContentSwitcher(initial="memory", id="pages"):
            with Horizontal(id="memory"):
                with VerticalScroll(id="parts", can_focus=False):
                    yield Static()
                with Vertical():
                    yield Static(lever_title(), classes="title")
                    yield OptionList(id="levers")
            with Vertical(id="rates"):
                yield OptionList(id="rules")
                yield Static(classes="words")
            with VerticalScroll(id="time"):
                yield Static()
            with Vertical(id="advice"):
                yield OptionList(id="findings")
                yield Static(classes="words")

    def on_mount(self) -> None:
        self.query_one("#tabs").can_focus = False
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
        self._turn += 1
        self._exact = exact
        doing = _("Tokenising all rows…") if exact else _("Working it out…")
        self.query_one(TopBar).say(Content(doing).stylize("$dim"))
        self._work(self._turn, copy.deepcopy(self.tuner.draft), self.tuner.card, exact)

    @work(thread=True, group="plan", exclusive=True)
    def _work(self, turn: int, draft: dict[str, Any], card: str, exact: bool) -> None:
        found, error = None, ""
        try:
            found = planlook.look(draft, card, self.tuner.store.root, exact=exact)
        except (TunerError, OSError, ImportError) as problem:
            error = words_of(problem)
        if not get_current_worker().is_cancelled:
            self.post_message(Planned(turn, found, error))

    @on(Planned)
    def _planned(self, message: Planned) -> None:
        if message.turn != self._turn:
            return
        self._say_card()
        if message.look is None and self._exact and self.look is not None:
            self.tuner.say(message.error, "error", 12)  # what was counted before still holds
            return
        if message.look is None:
            self.query_one("#verdict", Static).update(
                Content.assemble(("✗ ", "$error"), block(message.error))
            )
            return
        self.look, self._traced = message.look, ""
        self._draw(message.look)

    def _say_card(self, done: int = 0, total: int = 0) -> None:
        words = safe(self.tuner.card or _("this machine"), 30)
        if self._ranging is not None:
            said = _("range test under way, r ends it")
            if total:
                said = _("range test: step {done} of {total}, r ends it", done=done, total=total)
            words = Content(said).stylize("$dim")
        self.query_one(TopBar).say(words)

    def work_failed(self, group: str, words: str) -> None:
        if group == "range":
            self._ranging = None
        self._say_card()
        if group == "plan" and self.look is None:
            self.query_one("#verdict", Static).update(Content.assemble(("✗ ", "$error"), words))

    # Drawing

    def _draw(self, look: planlook.Look) -> None:
        self._draw_memory(look)
        self.query_one("#time Static", Static).update(time_words(look, self.size.width - 2))
        self._fill("memory", lever_offers(look))
        self._fill("rates", range_offers(self._ranged) + rule_offers(look))
        self._fill("advice", advice_offers(look))
        count = len(look.plan.advice)
        label = f"4 {PAGES['advice']}" + (f" ({count})" if count else "")
        self.query_one("#tabs #advice", Tab).label = Content(label)
        if self.focused is None:
            self._focus_list()

    def _draw_memory(self, look: planlook.Look) -> None:
        self.query_one("#verdict", Static).update(verdict(look))
        self._draw_footing()
        self.query_one("#bar", Static).update(bar_content(look.estimate, look.card, self.size.width - 2))
        self.query_one("#parts Static", Static).update(breakdown(look.estimate, 36))

    def _draw_footing(self) -> None:
        words = footing(self.look, self._traced) if self.look is not None else Content("")
        line = self.query_one("#footing", Static)
        line.display = bool(words.plain)
        line.update(words)

    def _fill(self, page: str, offers: list[Offer]) -> None:
        box = self.query_one(LISTS[page], OptionList)
        before = box.highlighted or 0
        self._offers[page] = offers
        box.clear_options()
        box.add_options([Option(offer.line) for offer in offers])
        if offers:
            box.highlighted = min(before, len(offers) - 1)
        else:
            words = {
                "advice": _("Nothing to remark."),
                "memory": _("Nothing here saves memory."),
            }
            if page in ("rates", "advice"):
                self.query_one(f"#{page} .words", Static).update("")
            box.add_option(Option(Content(words.get(page, "")).stylize("$dim"), disabled=True))

    @on(OptionList.OptionHighlighted)
    def _highlighted(self, event: OptionList.OptionHighlighted) -> None:
        for page in ("rates", "advice"):
            if event.option_list.id == LISTS[page].removeprefix("#") and event.option_index < len(
                self._offers[page]
            ):
                self.query_one(f"#{page} .words", Static).update(self._offers[page][event.option_index].words)

    # Pages

    @on(Tabs.TabActivated)
    def _tab(self, event: Tabs.TabActivated) -> None:
        self.query_one("#pages", ContentSwitcher).current = event.tab.id
        self._focus_list()

    def _page(self) -> str:
        return self.query_one("#pages", ContentSwitcher).current or "memory"

    def _focus_list(self) -> None:
        page = self._page()
        self.set_focus(self.query_one(LISTS[page]) if page in LISTS else self.query_one("#time"))

    def action_page(self, by: int) -> None:
        names = list(PAGES)
        self.action_go(names[(names.index(self._page()) + by) % len(names)])

    def action_go(self, page: str) -> None:
        self.query_one("#tabs", Tabs).active = page

    # Keys

    def action_back(self) -> None:
        self.dismiss(None)

    @on(OptionList.OptionSelected)
    def _selected(self) -> None:
        self.action_take()

    def action_take(self) -> None:
        """Put what is marked into the settings."""
        page = self._page()
        if page not in LISTS:
            return
        index, offers = self.query_one(LISTS[page], OptionList).highlighted, self._offers[page]
        if index is None or index >= len(offers) or not offers[index].values:
            self.tuner.say(_("There is nothing to take here."), "warning")
            return
        values = offers[index].values
        draft = copy.deepcopy(self.tuner.draft)
        for path, value in values.items():
            put(draft, path, value)
        wrong = problems(draft, {})
        if wrong:
            self.tuner.say(one_line(next(iter(wrong.values())), 200), "error", 8)
            return
        self.tuner.draft = draft
        self.tuner.say(", ".join(f"{path}: {plain_value(value)}" for path, value in values.items()))
        self._plan()

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
            said = _("There is nothing to undo.") if back else _("There is nothing to do again.")
            self.tuner.say(said, timeout=3)
            return
        self.tuner.say(words_of_step(step, back), timeout=4)
        self._plan()

    def action_tokens(self) -> None:
        """Exact counts: tokenise all rows as the run would."""
        self._plan(exact=True)

    def action_card(self) -> None:
        from tui_tuner.ui.screens.cards import CardDialog

        self.app.push_screen(CardDialog(copy.deepcopy(self.tuner.draft), self.tuner.card), self._card_chosen)

    def _card_chosen(self, name: str | None) -> None:
        if name is None:
            return
        self.tuner.card = name
        remember(card=name)
        self._plan()

    def action_trace(self) -> None:
        if self.look is not None:
            self.query_one(TopBar).say(Content(_("Tracing the installed libraries…")).stylize("$dim"))
            self._trace(self._turn, self.look)

    @work(thread=True, group="trace", exclusive=True)
    def _trace(self, turn: int, look: planlook.Look) -> None:
        from tui_tuner.launch.helper import Cancelled
        from tui_tuner.launch.tracing import Tracer
        from tui_tuner.planning.estimate import setup_for
        from tui_tuner.planning.memory.stack import installed

        facts, data = look.plan.facts, look.counted.facts
        try:
            if self._tracer is None:
                self._tracer = Tracer(helper=self.tuner.helper)
            sentence = self._tracer.check(
                setup_for(look.used, facts, installed(), look.card, data)
            ).sentence()
        except (TunerError, OSError) as problem:
            sentence = one_line(problem, 200)
        except Cancelled:
            return
        self.post_message(Traced(turn, sentence))

    @on(Traced)
    def _trace_done(self, message: Traced) -> None:
        self._say_card()
        if message.turn == self._turn:
            self._traced = message.sentence
            self._draw_footing()

    def action_range(self) -> None:
        """Train some steps over growing learning rates, in a process of its own; end it if it is on."""
        self.action_go("rates")
        if self._ranging is not None:
            self._ranging.end()
            return
        if self.tuner.training:
            self.tuner.say(_("A run is on in this process; the range test would take its device."), "warning")
            return
        self._ranging = RangeProcess(self.tuner.helper, self._range_is_at)
        self._say_card()
        self.tuner.say(_("The range test trains some steps; its result comes here."), timeout=8)
        self._range(self._ranging, copy.deepcopy(self.tuner.draft))

    def _range_is_at(self, done: int, total: int) -> None:
        self.post_message(RangeStep(done, total))

    @work(thread=True, group="range")
    def _range(self, process: RangeProcess, draft: dict[str, Any]) -> None:
        test, error = None, ""
        try:
            test = process.run(draft)
        except (TunerError, OSError, ValueError, KeyError) as problem:
            error = words_of(problem)
        self.post_message(Ranged(test, error))

    @on(RangeStep)
    def _range_step(self, message: RangeStep) -> None:
        if self._ranging is not None:
            self._say_card(message.done, message.total)

    @on(Ranged)
    def _range_done(self, message: Ranged) -> None:
        self._ranging = None
        self._say_card()
        if message.error:
            self.tuner.say(one_line(message.error, 300), "error", 12)
        if message.test is not None and self.look is not None:
            self._ranged = message.test
            self.query_one("#rules", OptionList).highlighted = 0
            self._draw(self.look)
