"""Panes that can fill the screen: `z` maximises one, `z` or Esc restores it."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding
from textual.screen import Screen
from textual.widget import Widget

from tui_tuner.locales import _


class Zooms(Screen[None]):
    """A screen with panes that can be zoomed. It names them in `PANES` and includes `ZOOM` in its bindings.

    The top line and the footer stay. Nothing is moved or rebuilt, so a pane keeps its cursor and scrolling.
    """

    ALLOW_IN_MAXIMIZED_VIEW = "TopBar, Footer"
    PANES: ClassVar[tuple[str, ...]] = ()  # selectors, in the order in which `Z` goes through them
    ZOOM: ClassVar[tuple[Binding, ...]] = (
        Binding("z", "zoom", _("Zoom")),
        Binding("Z", "zoom_next", _("Zoom the next pane"), show=False),
    )

    def list_panes(self) -> list[Widget]:
        """Return the panes that are visible, or would be without a zoomed one."""
        return [pane for selector in self.PANES for pane in self.query(selector) if _is_shown(pane)]

    def action_zoom(self) -> None:
        """Zoom the pane with the focus (or the first), or restore the layout."""
        if self.maximized is not None:
            self.minimize()
            return
        panes = self.list_panes()
        focused = [
            pane for pane in panes if self.focused is not None and pane in self.focused.ancestors_with_self
        ]
        if panes:
            self.zoom_pane(focused[0] if focused else panes[0])

    def action_zoom_next(self) -> None:
        """Zoom the next pane."""
        panes = self.list_panes()
        if panes:
            now = panes.index(self.maximized) if self.maximized in panes else -1
            self.zoom_pane(panes[(now + 1) % len(panes)])

    def zoom_pane(self, pane: Widget) -> None:
        """Zoom a pane."""
        self.maximized = pane
        # Keys must go to the pane that is seen, not to one behind it.
        inside = [widget for widget in pane.walk_children(Widget, with_self=True) if widget.focusable]
        if inside and self.focused not in inside:
            self.set_focus(inside[0], scroll_visible=False)


def _is_shown(pane: Widget) -> bool:
    """Return whether a pane and all its ancestors are displayed."""
    return all(widget.display for widget in pane.ancestors_with_self if isinstance(widget, Widget))
