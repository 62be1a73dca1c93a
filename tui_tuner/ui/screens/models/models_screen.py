"""The screen of models: those of this machine and of a hub in one list, with their memory needs."""

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
from tui_tuner.ui.base_models.model_rows import ORDERS, ModelRow, format_hub_name
from tui_tuner.ui.base_models.model_search import find_model_values
from tui_tuner.ui.form_values import find_draft_value
from tui_tuner.ui.screen_words import format_screen_duration, make_safe_line
from tui_tuner.ui.screens.models.fetch_keys import FetchingScreen
from tui_tuner.ui.widgets.models.fetch_line import FetchLine
from tui_tuner.ui.widgets.models.model_details import Details, format_file_lines, format_model_details
from tui_tuner.ui.widgets.models.model_list import Heads, ModelList
from tui_tuner.ui.widgets.topbar import TopBar

_MOST_FILES = 30  # shown in the panel next to the list


class ModelsScreen(FetchingScreen):
    """A search field, the list of models, and the details of the one under the cursor."""

    HELP_TEXT = _(
        "Type to search the hub; models of this machine come first. ↓ goes to the list, / back.\n"
        "Enter puts a model into the settings. A run fetches it when it starts; f fetches it now.\n"
        "● is on this machine, ◐ in part, ⇣ is being fetched, also after you leave this screen.\n"
        "takes: the memory of a run with your settings, from the model's config: ✓ fits, ✗ does not.\n"
        "gated: accept its terms on its page, then log in with l.\n"
        "w shows only models that fit, o changes the order, n filters by licence, h changes the hub.\n"
        "x stops fetching; f resumes it."
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
        Binding("r", "again", _("Search again"), show=False),
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
            chosen: Called with the values for the draft, after this screen has closed.
        """
        super().__init__()
        self._chosen = chosen
        self._shown_said = self._shown_title = ""

    def build_crumb(self) -> Content:
        return Content(_("Models"))

    def compose_body(self) -> ComposeResult:
        with Horizontal(id="top"):
            yield Static(Content(_("Search")))
            yield Input(placeholder=_("a name, parts of it, or owner/name; Enter searches"), id="query")
        with Vertical(id="main"):
            with Vertical(id="list-box", classes="panel"):
                yield Heads()
                yield ModelList(id="models")
            yield Details(id="details", classes="panel")
        yield Static("", id="said")
        yield FetchLine(self.tuner_app.fetches)

    def on_mount(self) -> None:
        self.query_one("#details").border_title = Content(_("Enter choose · f fetch"))
        self.set_focus(self.query_one("#query"))
        self.set_interval(1.0, self._update_waiting)
        self.call_after_refresh(self.draw_models)

    def on_resize(self) -> None:
        self.call_after_refresh(self.draw_models)

    # Drawing

    def draw_models(self, cursor: str = "") -> None:
        """Draw the list, and ask for the details of the models in sight."""
        hunt, models = self.hunt, self.model_list
        fetches = self.tuner_app.fetches
        rows = hunt.shown_rows
        hunt.note_shown(rows, hunt.cursor)
        jobs = {row.key: job for row in rows if (job := fetches.find_job(row.name, row.source)) is not None}
        models.show_rows(
            rows, hunt.fits, jobs, cursor or str(find_draft_value(self.tuner_app.draft, "model.name"))
        )
        title, box = self._build_title(len(rows)), self.query_one("#list-box")
        # A border title repaints its box even if it is set to the same text, and this comes with every key.
        if title.plain != self._shown_title:
            self._shown_title, box.border_title = title.plain, title
        self._draw_details()
        self.say_search()
        self.look_up_later()

    def _build_title(self, count: int) -> Content:
        view, draft = self.hunt.view, self.tuner_app.draft
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
        task, method = str(find_draft_value(draft, "task")), str(find_draft_value(draft, "method.kind"))
        for_what = _("for {task} with {method}", task=one_line(task, 24), method=one_line(method, 16))
        return Content.assemble(" · ".join(shown), ("  " + for_what, "$dim"))

    def _draw_details(self) -> None:
        row = self.model_list.chosen_row
        box = self.query_one(Details)
        if row is None:
            box.show_content(Content(_("No model has that name.") if self.hunt.query else ""))
            return
        lines, told = self._build_details(row), self.hunt.told.get(row.key)
        if told is not None and self.has_class("-wide"):
            lines += [Content(""), *format_file_lines(told)[:_MOST_FILES]]
        box.show_content(Content("\n").join(lines))

    def _build_details(self, row: ModelRow) -> list[Content]:
        """Return the details of a model, as far as they are known."""
        hunt, key = self.hunt, row.key
        job = self.tuner_app.fetches.find_job(row.name, row.source)
        return format_model_details(
            row, hunt.told.get(key), hunt.failed.get(key, ""), hunt.fits.get(key), job
        )

    def say_search(self) -> None:
        said = self._describe_search()
        if said.markup != self._shown_said:
            self._shown_said = said.markup
            self.query_one("#said", Static).update(said)

    def _describe_search(self) -> Content:
        """Return the state of the search: its error, its waiting time, or its number of results."""
        hunt, hub = self.hunt, format_hub_name(self.hunt.source)
        if hunt.error:
            said = _(
                "{why} Press r to try again. Models of this machine are listed.", why=one_line(hunt.error)
            )
            return Content.assemble(("✗ ", "$error"), said)
        if hunt.is_waiting:
            waited = format_screen_duration(time.monotonic() - self.since)
            return Content(_("Asking {hub}… {time}", hub=hub, time=waited)).stylize("$dim")
        if not hunt.looked:
            return Content(_("Looking for models on this machine…")).stylize("$dim")
        if hunt.answered and hunt.answered == hunt.query:
            count = len(hunt.found)
            words = _n("{hub} found {n} model", "{hub} found {n} models", count, hub=hub, n=count)
            return Content(words).stylize("$dim")
        here = sum(row.is_here for row in hunt.here)
        words = _n("{n} model on this machine", "{n} models on this machine", here, n=here)
        return Content(words).stylize("$dim")

    def _update_waiting(self) -> None:
        """Update the waiting time and the download, once a second."""
        # The timer also runs while another screen covers this one, and a covered screen draws nothing.
        if not self.is_active:
            return
        if self.hunt.is_waiting:
            self.say_search()
        if self.tuner_app.fetches.active_jobs:
            self.draw_models()

    def name_hub(self, endpoint: str = "", offline: bool = False) -> None:
        words = [format_hub_name(self.hunt.source)]
        words += [_("offline: HF_HUB_OFFLINE is set")] if offline else [endpoint.partition("://")[2]]
        self.query_one(TopBar).set_right_words(
            make_safe_line("  ".join(filter(None, words)), 60).stylize("$dim")
        )

    @on(Input.Submitted, "#query")
    def _search_at_once(self) -> None:
        """Search at once, and go to the list."""
        self.search_hub()
        # The focus moves now: once the hub answers, it would be taken away from someone who is typing.
        self.action_list()

    @on(OptionList.OptionHighlighted, "#models")
    def _show_highlighted(self) -> None:
        row = self.model_list.chosen_row
        self.hunt.cursor = row.key if row is not None else ""
        self._draw_details()
        self.look_up_later()

    # Keys

    @on(DescendantFocus)
    def _refresh_keys(self) -> None:
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Turn letters into keys only while the list has the focus."""
        if action in ("list", "back"):
            return True
        if not isinstance(self.focused, ModelList):
            return False
        if action == "leave_off":
            return bool(self.tuner_app.fetches.active_jobs)
        return True

    def action_list(self) -> None:
        """Go from the search to the list."""
        if not self.model_list.has_focus:
            self.set_focus(self.model_list)

    def action_search(self) -> None:
        """Go from the list to the search."""
        self.set_focus(self.query_one("#query"))

    @on(OptionList.OptionSelected, "#models")
    def _take_selected_model(self) -> None:
        row = self.model_list.chosen_row
        if row is not None:
            self.take_model(row)

    def take_model(self, row: ModelRow) -> None:
        """Choose a model; ask first if it needs its own Python code."""
        told = self.hunt.told.get(row.key)
        if told is None or not told.remote_code:
            self._take_with_code(row, False)
            return
        from tui_tuner.ui.screens.models.model_dialogs import WITH, WITHOUT, CodeDialog

        def take_by_answer(answer: str | None) -> None:
            if answer in (WITH, WITHOUT):
                self._take_with_code(row, answer == WITH)

        self.app.push_screen(CodeDialog(row, told), take_by_answer)

    def _take_with_code(self, row: ModelRow, remote_code: bool) -> None:
        values = find_model_values(self.tuner_app.draft, row, remote_code)
        # First, because the callback may open a screen of its own.
        self.app.pop_screen()
        self._chosen(values)

    def action_about(self) -> None:
        """Show the full details of the model under the cursor."""
        row = self.model_list.chosen_row
        if row is None:
            return
        from tui_tuner.ui.screens.models.model_details import ModelDetails

        self.app.push_screen(ModelDetails(row, self._build_details(row), self.hunt.told.get(row.key)))

    def action_fitting(self) -> None:
        """Switch between models that fit and all models."""
        self._change_view(fitting=not self.hunt.view.fitting)

    def action_order(self) -> None:
        """Switch to the next order of the list."""
        now = ORDERS.index(self.hunt.view.order)
        self._change_view(order=ORDERS[(now + 1) % len(ORDERS)])

    def action_licence(self) -> None:
        """Filter by the next licence in the list; after the last one, show all."""
        names = ["", *self.hunt.licences]
        now = self.hunt.view.licence
        self._change_view(licence=names[(names.index(now) + 1) % len(names)] if now in names else "")

    def _change_view(self, **changes: Any) -> None:
        self.hunt.view = replace(self.hunt.view, **changes)
        self.draw_models()

    def action_hub(self) -> None:
        """Search the other hub."""
        hunt = self.hunt
        hunt.source = MODELSCOPE if hunt.source == HUGGINGFACE else HUGGINGFACE
        # Results of the other hub must not stay in the list until this one answers.
        hunt.found, hunt.answered, hunt.asked, hunt.error = [], "", "", ""
        self.name_hub()
        self.list_here()
        self.search_hub()
        self.draw_models()
