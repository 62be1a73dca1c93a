"""A column of a chat: the turns of one model, one below the other."""

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
from tui_tuner.ui.widgets.chat.turn import TurnView
from tui_tuner.ui.words import safe


class Column(VerticalScroll, can_focus=True):
    """Up and down choose a turn, and scroll where one is longer than the column."""

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
        self.facts: dict[str, Any] = {}  # what `chat_open` told of it
        self._plain = plain
        self._hint = hint
        self._chosen: Turn | None = None
        self.border_title = safe(model.label, 60)

    @property
    def views(self) -> list[TurnView]:
        """From the first turn to the last."""
        return list(self.query_children(TurnView))

    @property
    def chosen(self) -> TurnView | None:
        """The turn that keys are about: the last one where none was chosen."""
        views = self.views
        return next((view for view in views if view.turn is self._chosen), views[-1] if views else None)

    @property
    def reply(self) -> Reply | None:
        """The chosen turn's answer."""
        return self.chosen.reply if self.chosen else None

    def told(self, facts: dict[str, Any]) -> None:
        """What is known of the model once it is loaded."""
        self.facts = facts
        for view in self.views:
            view.context = facts.get("context")
            view.show()
        if not facts.get("template", True):
            self.border_subtitle = Content(_("no chat template: it goes on with the text"))

    async def show(self, turns: Sequence[Turn]) -> None:
        """Have these turns; those that are there already stay as they are."""
        views = self.views
        same = 0
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
        for view in self.views[:same]:
            view.show()
        if self._chosen not in turns:
            self._chosen = None
        self.mark()
        self.anchor(False)
        self.call_after_refresh(self._follow)

    def _follow(self) -> None:
        """Stay at the end of what is written, once it is longer than the column.

        A shorter one begins at the top, so that answers side by side begin on the same line.
        """
        if self.max_scroll_y > 0 and not self.is_anchored:
            self.anchor()

    def draw(self, turn: Turn) -> None:
        """What there is of a turn by now."""
        for view in self.views:
            if view.turn is turn:
                view.show()
        if not self.is_anchored:
            self.call_after_refresh(self._follow)

    async def show_as(self, plain: bool) -> None:
        """As plain text, or as Markdown."""
        self._plain = plain
        for view in self.views:
            await view.show_as(plain)

    def choose(self, turn: Turn | None) -> None:
        """Keys are about this turn from here on; None is the last one."""
        self._chosen = turn
        self.mark()

    def mark(self) -> None:
        """Show which turn keys are about, while they come here."""
        chosen = self.chosen if self.has_focus else None
        for view in self.views:
            view.choose(view is chosen)

    def watch_has_focus(self, value: bool) -> None:
        super().watch_has_focus(value)
        self.mark()

    def action_step(self, by: int) -> None:
        """The next turn or the one before; as long as the end of this one is not on view, a line of it."""
        views, now = self.views, self.chosen
        if now is None:
            return
        top, height = self.scroll_offset.y, self.scrollable_content_region.height
        begin, end = now.virtual_region.y, now.virtual_region.bottom
        if by > 0 and end > top + height and self.max_scroll_y > top:
            self.scroll_relative(y=1, animate=False)
        elif by < 0 and begin < top:
            self.scroll_relative(y=-1, animate=False)
        else:
            place = views.index(now) + by
            if 0 <= place < len(views):
                self.choose(views[place].turn)
                self._bring(views[place], by)

    def _bring(self, view: TurnView, by: int) -> None:
        """Scroll so that one reads on: to the beginning of the next turn, or the end of the one before."""
        region, height = view.virtual_region, self.scrollable_content_region.height
        if by > 0:
            if region.bottom > self.scroll_offset.y + height:
                self.scroll_to(y=min(region.y, max(0, region.bottom - height)), animate=False)
        elif region.y < self.scroll_offset.y:
            self.scroll_to(y=max(region.y, region.bottom - height), animate=False)
