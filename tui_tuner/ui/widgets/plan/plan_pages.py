"""The pages of a plan: one at a time, or all side by side if there is room."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Container, Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tui_tuner.locales import _
from tui_tuner.ui.planwords import Offer, format_lever_title

PAGES = {
    "memory": _("Memory"),
    "rates": _("Learning rate"),
    "time": _("Time and money"),
    "advice": _("Advice"),
}
LISTS = {"memory": "#levers", "rates": "#rules", "advice": "#findings"}


class Pages(Container):
    """Four pages with their lists of offers."""

    DEFAULT_CSS = """
    Pages { height: 1fr; padding: 0 1; }
    Pages > * { display: none; height: 1fr; }
    Pages > .-on { display: block; }
    Pages #parts { width: 38; height: 1fr; padding-right: 1; }
    Pages OptionList { height: 1fr; min-height: 4; text-wrap: nowrap; text-overflow: ellipsis; }
    Pages #memory OptionList { width: 1fr; }
    Pages .words { height: auto; max-height: 15; color: $dim; padding-top: 1; }
    Pages .title { height: 1; color: $dim; text-wrap: nowrap; }
    """

    class Marked(Message):
        """The cursor moved to a page because its list got the focus."""

        def __init__(self, page: str) -> None:
            super().__init__()
            self.page = page

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.page = "memory"
        self.offers: dict[str, list[Offer]] = {name: [] for name in LISTS}

    def compose(self) -> ComposeResult:
        with Horizontal(id="memory", classes="-on"):
            with VerticalScroll(id="parts", can_focus=False):
                yield Static()
            with Vertical():
                yield Static(format_lever_title(), classes="title")
                yield OptionList(id="levers")
        with VerticalScroll(id="time"):
            yield Static()
        with Vertical(id="rates"):
            yield OptionList(id="rules")
            yield Static(classes="words")
        with Vertical(id="advice"):
            yield OptionList(id="findings")
            yield Static(classes="words")

    def on_mount(self) -> None:
        for number, (name, title) in enumerate(PAGES.items()):  # visible where all pages are shown
            self.query_one(f"#{name}").border_title = Content(f"{number + 1} {title}")

    def show_page(self, page: str) -> None:
        """Show a page and move the focus to it."""
        self.page = page
        for name in PAGES:
            self.query_one(f"#{name}").set_class(name == page, "-on")
        wanted = self.query_one(LISTS.get(page, "#time"))
        if self.screen.focused is not wanted:
            self.screen.set_focus(wanted)

    def on_descendant_focus(self) -> None:
        """Follow the focus: with all pages visible, Tab moves from one to the next."""
        focused = self.screen.focused
        found = [
            name
            for name in PAGES
            if focused is not None and self.query_one(f"#{name}") in focused.ancestors_with_self
        ]
        if found and found[0] != self.page:
            self.post_message(self.Marked(found[0]))

    def find_marked_offer(self) -> Offer | None:
        """Return the offer under the cursor; None if there is none to apply."""
        if self.page not in LISTS:
            return None
        index, offers = self.query_one(LISTS[self.page], OptionList).highlighted, self.offers[self.page]
        return None if index is None or index >= len(offers) or not offers[index].values else offers[index]

    def fill_page(self, page: str, offers: list[Offer]) -> None:
        """Put offers on a page; the cursor stays at its place."""
        box = self.query_one(LISTS[page], OptionList)
        # Remembered by position: after a change of the draft the offers are other objects.
        before = box.highlighted or 0
        self.offers[page] = offers
        box.clear_options()
        box.add_options([Option(offer.line) for offer in offers])
        if offers:
            box.highlighted = min(before, len(offers) - 1)
            return
        words = {"advice": _("Nothing looks wrong."), "memory": _("Nothing here saves memory.")}
        if page != "memory":
            self.explain_page(page, Content(""))
        box.add_option(Option(Content(words.get(page, "")).stylize("$dim"), disabled=True))

    def explain_page(self, page: str, words: Content) -> None:
        """Show an explanation below the list of a page."""
        self.query_one(f"#{page} .words", Static).update(words)

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Explain the offer under the cursor."""
        for page in ("rates", "advice"):
            mine = event.option_list.id == LISTS[page].removeprefix("#")
            # The event may be older than the offers: it was posted before the list was filled again.
            if mine and event.option_index < len(self.offers[page]):
                self.explain_page(page, self.offers[page][event.option_index].words)
