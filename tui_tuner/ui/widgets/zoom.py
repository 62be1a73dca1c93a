"""A pane that fills the screen: `z` gives it all the room, `z` or Esc gives the room back."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding
from textual.screen import Screen
from textual.widget import Widget

from tui_tuner.locales import _


class Zooms(Screen[None]):
    """A screen with panes that can be zoomed. Names them in `PANES`, and takes `ZOOM` among its bindings.

    The top line and the footer stay. Nothing is moved or made anew, so a pane keeps its cursor and scrolling.
    """

    ALLOW_IN_MAXIMIZED_VIEW = "TopBar, Footer"
    PANES: ClassVar[tuple[str, ...]] = ()  # selectors, in the order in which `Z` goes through them
    ZOOM: ClassVar[tuple[Binding, ...]] = (
        Binding("z", "zoom", _("Zoom")),
        Binding("Z", "zoom_next", _("Zoom the next pane"), show=False),
    )

    def panes(self) -> list[Widget]:
        """The panes that are to be seen, or would be if none filled the screen."""
        return [pane for selector in self.PANES for pane in self.query(selector) if _is_shown(pane)]

    def action_zoom(self) -> None:
        """Let the pane with the focus fill the screen (or the first); again, give the room back."""
        if self.maximized is not None:
            self.minimize()
            return
        panes = self.panes()
        focused = [
            pane for pane in panes if self.focused is not None and pane in self.focused.ancestors_with_self
        ]
        if panes:
            self.zoom(focused[0] if focused else panes[0])

    def action_zoom_next(self) -> None:
        """Let the next pane fill the screen."""
        panes = self.panes()
        if panes:
            now = panes.index(self.maximized) if self.maximized in panes else -1
            self.zoom(panes[(now + 1) % len(panes)])

    def zoom(self, pane: Widget) -> None:
        """Let a pane fill the screen."""
        self.maximized = pane
        inside = [widget for widget in pane.walk_children(Widget, with_self=True) if widget.focusable]
        if inside and self.focused not in inside:
            self.set_focus(inside[0], scroll_visible=False)


def _is_shown(pane: Widget) -> bool:
    """Whether a pane and all that it lies in are displayed."""
    return all(widget.display for widget in pane.ancestors_with_self if isinstance(widget, Widget))
