"""Models: of this machine and of a hub in one list, with what each takes here; take or fetch one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import DescendantFocus
from textual.widgets import Input, OptionList, Static

from tui_tuner.locales import _, _n
from tui_tuner.models.hub.kinds import HUGGINGFACE, MODELSCOPE
from tui_tuner.text import one_line
from tui_tuner.ui.base_models.hunt import values_for
from tui_tuner.ui.base_models.rows import ORDERS, Row, hub_words
from tui_tuner.ui.form import at
from tui_tuner.ui.screens.models.fetching import FetchingScreen
from tui_tuner.ui.widgets.models.details import Details, details, file_lines
from tui_tuner.ui.widgets.models.fetch_line import FetchLine
from tui_tuner.ui.widgets.models.model_list import Heads, ModelList
from tui_tuner.ui.widgets.topbar import TopBar
from tui_tuner.ui.words import duration, safe

_MOST_FILES = 30  # that the panel beside the list shows


class ModelsScreen(FetchingScreen):
    """A search above, models below, and what is known of the one under the cursor."""

    HELP_TEXT = _(
        "Type to search the hub; models of this machine come first. Down goes to the list, / back.\n"
        "Enter takes a model into the settings. A run fetches it when it needs it; f fetches it now.\n"
        "● is on this machine, ◐ in part, ⇣ is being fetched, which goes on when you leave this screen.\n"
        "takes: memory of a run with your settings, by the model's config alone: ✓ fits, ✗ does not.\n"
        "gated: its owner wants to know who asks. Accept the terms on its page, then log in with l.\n"
        "w shows only what fits, o changes the order, n goes through the licences, h changes the hub.\n"
        "x stops fetching: what has come stays, and f goes on from there."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", _("Back")),
        Binding("down", "list", _("To the list"), show=False),
        Binding("slash", "search", _("Search"), key_display="/"),
        Binding("f", "fetch", _("Fetch")),
        Binding("i,right", "about", _("More"), key_display="i"),
        Binding("w", "fitting", _("Fits")),
        Binding("o", "order", _("Order")),
        Binding("h", "hub", _("Hub")),
        Binding("l", "login", _("Log in")),
        Binding("x", "leave_off", _("Stop")),
        Binding("n", "licence", _("Licence"), show=False),
        Binding("r", "again", _("Ask again"), show=False),
    ]
    DEFAULT_CSS = """
    ModelsScreen #top { height: 1; }
    ModelsScreen #top > Static { width: auto; color: $dim; padding: 0 1; }
    ModelsScreen #top > Input { width: 1fr; }
    ModelsScreen #main { height: 1fr; layout: vertical; }
    ModelsScreen.-wide #main { layout: horizontal; }
    ModelsScreen #list-box { height: 1fr; width: 1fr; }
    ModelsScreen #models { height: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }
    ModelsScreen #details { height: 6; }
    ModelsScreen.-tall #details { height: 9; }
    ModelsScreen.-wide #details { width: 40; height: 1fr; margin-left: 2; }
    ModelsScreen #said { height: auto; max-height: 2; padding: 0 1; }
    """

    def __init__(self, chosen: Callable[[Mapping[str, Any]], None]) -> None:
        """Show the models.

        Args:
            chosen: Called with the values for the draft, once one is taken and this screen is gone.
        """
        super().__init__()
        self._chosen = chosen
        self._shown_said = self._shown_title = ""

    def crumb(self) -> Content:
        return Content(_("Models"))

    def body(self) -> ComposeResult:
        with Horizontal(id="top"):
            yield Static(Content(_("Search")))
            yield Input(placeholder=_("a name, words of it, or owner/name; Enter asks at once"), id="query")
        with Vertical(id="main"):
            with Vertical(id="list-box", classes="panel"):
                yield Heads()
                yield ModelList(id="models")
            yield Details(id="details", classes="panel")
        yield Static("", id="said")
        yield FetchLine(self.tuner.fetches)

    def on_mount(self) -> None:
        self.query_one("#details").border_title = Content(_("Enter takes it · f fetches it"))
        self.set_focus(self.query_one("#query"))
        self.set_interval(1.0, self._tick)
        self.call_after_refresh(self.draw)

    def on_resize(self) -> None:
        self.call_after_refresh(self.draw)

    # Drawing

    def draw(self, cursor: str = "") -> None:
        """Draw the list as it is known now, and look at what is in sight."""
        hunt, models = self.hunt, self.models
        fetches = self.tuner.fetches
        rows = hunt.rows
        hunt.see(rows, hunt.cursor)
        jobs = {row.key: job for row in rows if (job := fetches.of(row.name, row.source)) is not None}
        models.show(rows, hunt.fits, jobs, cursor or str(at(self.tuner.draft, "model.name")))
        title, box = self._title(len(rows)), self.query_one("#list-box")
        if title.plain != self._shown_title:
            self._shown_title, box.border_title = title.plain, title
        self._draw_details()
        self.say_search()
        self.look_on()

    def _title(self, count: int) -> Content:
        view, draft = self.hunt.view, self.tuner.draft
        shown = [_n("{n} model", "{n} models", count, n=count)]
        shown += [_("only what fits")] if view.fitting else []
        shown += [_("licence {name}", name=one_line(view.licence, 30))] if view.licence else []
        orders = {
            "smallest": _("smallest first"),
            "largest": _("largest first"),
            "name": _("by name"),
            "downloads": _("most downloaded first"),
        }
        shown += [orders[view.order]] if view.order in orders else []
        task, method = str(at(draft, "task")), str(at(draft, "method.kind"))
        for_what = _("for {task} with {method}", task=one_line(task, 24), method=one_line(method, 16))
        return Content.assemble(" · ".join(shown), ("  " + for_what, "$dim"))

    def _draw_details(self) -> None:
        row = self.models.chosen
        box = self.query_one(Details)
        if row is None:
            box.show(Content(_("No model has that name.") if self.hunt.query else ""))
            return
        lines, told = self._about(row), self.hunt.told.get(row.key)
        if told is not None and self.has_class("-wide"):
            lines += [Content(""), *file_lines(told)[:_MOST_FILES]]
        box.show(Content("\n").join(lines))

    def _about(self, row: Row) -> list[Content]:
        """What is known of a model."""
        hunt, key = self.hunt, row.key
        job = self.tuner.fetches.of(row.name, row.source)
        return details(row, hunt.told.get(key), hunt.failed.get(key, ""), hunt.fits.get(key), job)

    def say_search(self) -> None:
        said = self._said()
        if said.markup != self._shown_said:
            self._shown_said = said.markup
            self.query_one("#said", Static).update(said)

    def _said(self) -> Content:
        """What the search is doing, or why it cannot."""
        hunt, hub = self.hunt, hub_words(self.hunt.source)
        if hunt.error:
            said = _("{why} r asks again; models of this machine are listed.", why=one_line(hunt.error))
            return Content.assemble(("✗ ", "$error"), said)
        if hunt.waiting:
            waited = duration(time.monotonic() - self.since)
            return Content(_("Asking {hub}… {time}", hub=hub, time=waited)).stylize("$dim")
        if not hunt.looked:
            return Content(_("Looking for models on this machine…")).stylize("$dim")
        if hunt.answered and hunt.answered == hunt.query:
            count = len(hunt.found)
            words = _n("{hub} found {n} model", "{hub} found {n} models", count, hub=hub, n=count)
            return Content(words).stylize("$dim")
        here = sum(row.here for row in hunt.here)
        words = _n("{n} model on this machine", "{n} models on this machine", here, n=here)
        return Content(words).stylize("$dim")

    def _tick(self) -> None:
        """Once a second: what waits counts, and what is fetched moves."""
        if not self.is_active:
            return
        if self.hunt.waiting:
            self.say_search()
        if self.tuner.fetches.active:
            self.draw()

    def name_hub(self, endpoint: str = "", offline: bool = False) -> None:
        words = [hub_words(self.hunt.source)]
        words += [_("offline: HF_HUB_OFFLINE is set")] if offline else [endpoint.partition("://")[2]]
        self.query_one(TopBar).say(safe("  ".join(filter(None, words)), 60).stylize("$dim"))

    @on(Input.Submitted, "#query")
    def _entered(self) -> None:
        """The focus goes to the list now, and not when the hub answers, when a hand may be typing."""
        self.ask()
        self.action_list()

    @on(OptionList.OptionHighlighted, "#models")
    def _highlighted(self) -> None:
        row = self.models.chosen
        self.hunt.cursor = row.key if row is not None else ""
        self._draw_details()
        self.look_on()

    # Keys

    @on(DescendantFocus)
    def _focused(self) -> None:
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Letters are keys in the list; in the search they are letters."""
        if action in ("list", "back"):
            return True
        if not isinstance(self.focused, ModelList):
            return False
        if action == "leave_off":
            return bool(self.tuner.fetches.active)
        return True

    def action_list(self) -> None:
        """From the search to the list."""
        if not self.models.has_focus:
            self.set_focus(self.models)

    def action_search(self) -> None:
        """From the list to the search."""
        self.set_focus(self.query_one("#query"))

    @on(OptionList.OptionSelected, "#models")
    def _selected(self) -> None:
        row = self.models.chosen
        if row is not None:
            self.take(row)

    def take(self, row: Row) -> None:
        """Take a model into the draft; one that needs code of its own is asked about."""
        told = self.hunt.told.get(row.key)
        if told is None or not told.remote_code:
            self._take(row, False)
            return
        from tui_tuner.ui.screens.models.dialogs import WITH, WITHOUT, CodeDialog

        def answered(answer: str | None) -> None:
            if answer in (WITH, WITHOUT):
                self._take(row, answer == WITH)

        self.app.push_screen(CodeDialog(row, told), answered)

    def _take(self, row: Row, remote_code: bool) -> None:
        values = values_for(self.tuner.draft, row, remote_code)
        self.app.pop_screen()
        self._chosen(values)

    def action_about(self) -> None:
        """All that is known of the model under the cursor."""
        row = self.models.chosen
        if row is None:
            return
        from tui_tuner.ui.screens.models.about import AboutModel

        self.app.push_screen(AboutModel(row, self._about(row), self.hunt.told.get(row.key)))

    def action_fitting(self) -> None:
        """Show only models that fit, or all."""
        self._see(fitting=not self.hunt.view.fitting)

    def action_order(self) -> None:
        """The next order of the list."""
        now = ORDERS.index(self.hunt.view.order)
        self._see(order=ORDERS[(now + 1) % len(ORDERS)])

    def action_licence(self) -> None:
        """Only the next licence of those in the list; after the last one all."""
        names = ["", *self.hunt.licences]
        now = self.hunt.view.licence
        self._see(licence=names[(names.index(now) + 1) % len(names)] if now in names else "")

    def _see(self, **changes: Any) -> None:
        self.hunt.view = replace(self.hunt.view, **changes)
        self.draw()

    def action_hub(self) -> None:
        """Search the other hub."""
        hunt = self.hunt
        hunt.source = MODELSCOPE if hunt.source == HUGGINGFACE else HUGGINGFACE
        hunt.found, hunt.answered, hunt.asked, hunt.error = [], "", "", ""
        self.name_hub()
        self.list_here()
        self.ask()
        self.draw()
