"""A list of any length that only draws its visible lines."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Click
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.style import Style
from textual.visual import Visual


class LongList(ScrollView, can_focus=True):
    """A list whose subclasses draw an item (`draw_item`) in `lines_each` lines.

    While it waits for its items (`awaits`), cursor keys are counted, and applied once the items are there.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home", "first", show=False),
        Binding("end", "last", show=False),
        Binding("enter", "select", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"long-list--cursor"}
    DEFAULT_CSS = """
    LongList { height: 1fr; background: transparent; scrollbar-size-vertical: 1; overflow-x: hidden; }
    LongList:focus { background-tint: transparent; }
    LongList > .long-list--cursor { background: $block-cursor-blurred-background; }
    LongList:focus > .long-list--cursor { background: $block-cursor-background; }
    """

    class Highlighted(Message):
        """The cursor moved to another item; `index` counts from 0."""

        def __init__(self, source: LongList, index: int) -> None:
            super().__init__()
            self.source, self.index = source, index

        @property
        def control(self) -> LongList:
            return self.source

    class Selected(Highlighted):
        """Enter was pressed on an item."""

    has_cursor = True  # if False, the keys scroll

    def __init__(self, id: str | None = None, classes: str | None = None, lines_each: int = 1) -> None:
        super().__init__(id=id, classes=classes)
        self.lines_each = lines_each
        self.count = 0
        self.cursor: int | None = None
        self.empty = Content("")  # shown while there are no items
        self.awaits = False
        self._owed = 0  # steps of the cursor, pressed before there was anything

    # Items

    def draw_item(self, index: int, width: int) -> list[Content]:
        """Return the lines of an item: at most `lines_each`, each at most `width` cells wide."""
        raise NotImplementedError

    def show_items(self, count: int, cursor: int | None = None, empty: Content | None = None) -> None:
        """Set the number of items; the cursor stays, or moves to `cursor`."""
        owed, self._owed = (self._owed, 0) if count else (0, self._owed)
        self.empty = empty if empty is not None else self.empty
        self.count = count
        if count:
            self.awaits = False
            place = cursor if cursor is not None else (self.cursor or 0)
            self.cursor = max(0, min(count - 1, place + owed)) if self.has_cursor else None
        else:
            self.cursor = None
        self._update_size()
        self.refresh()
        if self.cursor is not None:
            self._show_cursor()
            self.post_message(self.Highlighted(self, self.cursor))

    def grow_to(self, count: int) -> None:
        """Add items at the end; cursor and scrolling stay."""
        self.count = max(count, self.count)
        self._update_size()

    def await_items(self, words: Content) -> None:
        """Show no items but these words, until there are some."""
        self._owed, self.awaits = 0, True
        self.show_items(0, empty=words)

    def set_lines_each(self, lines: int) -> None:
        """Set the number of lines of each item."""
        if lines != self.lines_each:
            self.lines_each = lines
            self._update_size()
            self.refresh()
            self._show_cursor()

    def _update_size(self) -> None:
        self.virtual_size = Size(max(1, self.scrollable_content_region.width), self.count * self.lines_each)

    def on_resize(self) -> None:
        self._update_size()
        self._show_cursor()

    @property
    def on_view(self) -> range:
        """The items with a visible line."""
        top = int(self.scroll_offset.y) // self.lines_each
        rows = -(-max(1, self.scrollable_content_region.height) // self.lines_each) + 1
        return range(top, min(self.count, top + rows))

    def refresh_item(self, index: int) -> None:
        """Redraw one item."""
        self.refresh_lines(index * self.lines_each, self.lines_each)

    # Drawing

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        index, part = divmod(int(self.scroll_offset.y) + y, self.lines_each)
        style = self.visual_style
        if index >= self.count:
            lines = self.empty.split("\n") if not self.count else []
            line = lines[y] if y < len(lines) else Content("")
            return self._render_strip(line, width, style)
        if index == self.cursor:
            style = self.get_visual_style("long-list--cursor")
        lines = self.draw_item(index, width)
        return self._render_strip(lines[part] if part < len(lines) else Content(""), width, style)

    def _render_strip(self, line: Content, width: int, style: Style) -> Strip:
        strips = Visual.to_strips(self, line, max(1, width), 1, style, apply_selection=False)
        # Empty content gives no strip at all.
        strip = strips[0] if strips else Strip([Segment("", style.rich_style)])
        return strip.adjust_cell_length(width, style.rich_style)

    # The cursor

    def go_to(self, index: int) -> None:
        """Move the cursor to an item."""
        if not self.count:
            return
        index = max(0, min(self.count - 1, index))
        before, self.cursor = self.cursor, index
        if before != index:
            # Only the two lines that the cursor left and entered, not the whole list.
            for changed in {before, index} - {None}:
                self.refresh_item(changed or 0)
            self.post_message(self.Highlighted(self, index))
        self._show_cursor()

    def _show_cursor(self) -> None:
        if self.cursor is not None and self.is_mounted:
            region = Region(0, self.cursor * self.lines_each, 1, self.lines_each)
            # Without animation: over a slow line each of its frames would be sent.
            self.scroll_to_region(region, force=True, animate=False, immediate=True)

    def action_move(self, step: int) -> None:
        """Move to the next or the previous item."""
        if not self.has_cursor:
            self.scroll_relative(y=step, animate=False)
        elif self.cursor is not None:
            self.go_to(self.cursor + step)
        elif self.awaits:
            self._owed = max(0, self._owed + step)

    def action_page(self, pages: int) -> None:
        """Move a page down or up."""
        self.action_move(pages * max(1, self.scrollable_content_region.height // self.lines_each - 1))

    def action_first(self) -> None:
        """Move to the first item."""
        if self.has_cursor:
            self.go_to(0)
        else:
            self.scroll_home(animate=False)

    def action_last(self) -> None:
        """Move to the last item loaded so far."""
        if self.has_cursor:
            self.go_to(self.count - 1)
        else:
            self.scroll_end(animate=False)

    def action_select(self) -> None:
        """Select the item under the cursor."""
        if self.cursor is not None:
            self.post_message(self.Selected(self, self.cursor))

    def on_click(self, event: Click) -> None:
        place = event.get_content_offset(self)
        if place is None:
            return
        index = (int(self.scroll_offset.y) + place.y) // self.lines_each
        if index < self.count and self.has_cursor:
            # The first click only moves the cursor; a click on the item under the cursor selects it.
            chosen = index == self.cursor
            self.go_to(index)
            if chosen:
                self.action_select()
