"""A column of a chat with the turns of one model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui_tuner.inference.origin import Origin
from tui_tuner.inference.talk import Reply, Turn
from tui_tuner.locales import _
from tui_tuner.ui.screen_words import make_safe_line
from tui_tuner.ui.widgets.chat.turn_view import TurnView


class Column(VerticalScroll, can_focus=True):
    """A column of turns: up and down choose one, or scroll if it is longer than the column."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "step(-1)", show=False),
        Binding("down", "step(1)", show=False),
    ]
    DEFAULT_CSS = """
    Column { width: 1fr; height: 1fr; padding: 0 1; }
    Column > .hint { height: auto; color: $dim; }
    """

    def __init__(self, model: Origin, plain: bool, hint: Content) -> None:
        super().__init__(classes="panel")
        self.model = model
        self.facts: dict[str, Any] = {}  # the facts from `chat_open`
        self._plain = plain
        self._hint = hint
        self._chosen: Turn | None = None
        self.border_title = make_safe_line(model.display_label, 60)

    @property
    def turn_views(self) -> list[TurnView]:
        """The turns, first to last."""
        return list(self.query_children(TurnView))

    @property
    def chosen_view(self) -> TurnView | None:
        """The turn that keys apply to: the chosen one, or the last."""
        views = self.turn_views
        return next((view for view in views if view.turn is self._chosen), views[-1] if views else None)

    @property
    def chosen_reply(self) -> Reply | None:
        """The chosen turn's answer."""
        return self.chosen_view.reply if self.chosen_view else None

    def take_facts(self, facts: dict[str, Any]) -> None:
        """Take over the facts of the loaded model."""
        self.facts = facts
        for view in self.turn_views:
            view.context = facts.get("context")
            view.show_reply()
        if not facts.get("template", True):
            self.border_subtitle = Content(_("no chat template: it continues the text"))

    async def show_turns(self, turns: Sequence[Turn]) -> None:
        """Show these turns; existing ones stay."""
        views = self.turn_views
        same = 0
        # Compared by identity: another version of a turn has the same text before its answer.
        while same < min(len(views), len(turns)) and views[same].turn is turns[same]:
            same += 1
        with self.app.batch_update():
            if views[same:]:
                await self.remove_children(views[same:])
            await self.query_children(".hint").remove()
            added = [
                TurnView(turn, self.model, self._plain, self.facts.get("context")) for turn in turns[same:]
            ]
            await self.mount_all(added or ([Static(self._hint, classes="hint")] if not turns else []))
        for view in self.turn_views[:same]:
            view.show_reply()
        if self._chosen not in turns:
            self._chosen = None
        self.mark_chosen()
        # An anchored column would jump to the end before the new turns are laid out.
        self.anchor(False)
        self.call_after_refresh(self._follow_end)

    def _follow_end(self) -> None:
        """Follow the end of the text once it is longer than the column.

        A shorter text starts at the top, so that answers side by side start on the same line.
        """
        if self.max_scroll_y > 0 and not self.is_anchored:
            self.anchor()

    def draw_turn(self, turn: Turn) -> None:
        """Draw the current state of a turn."""
        for view in self.turn_views:
            if view.turn is turn:
                view.show_reply()
        if not self.is_anchored:
            self.call_after_refresh(self._follow_end)

    async def show_as(self, plain: bool) -> None:
        """Show answers as plain text or as Markdown."""
        self._plain = plain
        for view in self.turn_views:
            await view.show_as(plain)

    def choose_turn(self, turn: Turn | None) -> None:
        """Choose the turn that keys apply to; None is the last one."""
        self._chosen = turn
        self.mark_chosen()

    def mark_chosen(self) -> None:
        """Show which turn keys apply to, while the column has the focus."""
        chosen = self.chosen_view if self.has_focus else None
        for view in self.turn_views:
            view.set_chosen(view is chosen)

    def watch_has_focus(self, value: bool) -> None:
        super().watch_has_focus(value)
        self.mark_chosen()

    def action_step(self, by: int) -> None:
        """Go to the next or previous turn, or scroll by a line while this one has more to show."""
        views, now = self.turn_views, self.chosen_view
        if now is None:
            return
        # A turn longer than the column is read line by line before the next one is chosen.
        top, height = self.scroll_offset.y, self.scrollable_content_region.height
        begin, end = now.virtual_region.y, now.virtual_region.bottom
        if by > 0 and end > top + height and self.max_scroll_y > top:
            self.scroll_relative(y=1, animate=False)
        elif by < 0 and begin < top:
            self.scroll_relative(y=-1, animate=False)
        else:
            place = views.index(now) + by
            if 0 <= place < len(views):
                self.choose_turn(views[place].turn)
                self._bring_into_view(views[place], by)

    def _bring_into_view(self, view: TurnView, by: int) -> None:
        """Scroll to the start of the next turn, or to the end of the previous one, to read on."""
        region, height = view.virtual_region, self.scrollable_content_region.height
        if by > 0:
            if region.bottom > self.scroll_offset.y + height:
                self.scroll_to(y=min(region.y, max(0, region.bottom - height)), animate=False)
        elif region.y < self.scroll_offset.y:
            self.scroll_to(y=max(region.y, region.bottom - height), animate=False)
