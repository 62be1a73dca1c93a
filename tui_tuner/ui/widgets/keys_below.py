"""The footer with the keys of a screen."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.screen import Screen
from textual.widgets import Footer


class KeysBelow(Footer):
    """Textual's footer, rebuilt only when other keys are shown, not whenever the focus moves."""

    def __init__(self) -> None:
        super().__init__(compact=True, show_command_palette=False)
        self._shown: list[tuple[object, ...]] | None = None

    @property
    def _offered_keys(self) -> list[tuple[object, ...]]:
        return [
            (one.binding, one.enabled, one.tooltip)
            for one in self.screen.active_bindings.values()
            if one.binding.show
        ]

    def compose(self) -> ComposeResult:
        # Before that Textual composes an empty footer, which must not count as shown.
        if self._bindings_ready:
            self._shown = self._offered_keys
        yield from super().compose()

    def bindings_changed(self, screen: Screen[object]) -> None:
        self._bindings_ready = True
        if screen.app.app_focus and self.is_attached and screen is self.screen:
            # Bindings change several times while the focus moves: compared only after they have settled.
            self.call_after_refresh(self._recompose_if_changed)

    async def _recompose_if_changed(self) -> None:
        if self.is_attached and self._offered_keys != self._shown:
            await self.recompose()
