"""The keys of a screen, in its last line."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.screen import Screen
from textual.widgets import Footer


class KeysBelow(Footer):
    """Textual's footer, made anew only where other keys are to be shown: not whenever the focus moves."""

    def __init__(self) -> None:
        super().__init__(compact=True, show_command_palette=False)
        self._shown: list[tuple[object, ...]] | None = None

    @property
    def _offered(self) -> list[tuple[object, ...]]:
        return [
            (one.binding, one.enabled, one.tooltip)
            for one in self.screen.active_bindings.values()
            if one.binding.show
        ]

    def compose(self) -> ComposeResult:
        if self._bindings_ready:
            self._shown = self._offered
        yield from super().compose()

    def bindings_changed(self, screen: Screen[object]) -> None:
        self._bindings_ready = True
        if screen.app.app_focus and self.is_attached and screen is self.screen:
            self.call_after_refresh(self._renew)

    async def _renew(self) -> None:
        if self.is_attached and self._offered != self._shown:
            await self.recompose()
